//! `witvirt volume`.

use witvirt_core::ByteSize;

use super::Context;
use super::args::VolumeCommand;
use super::output::{self, Table};
use super::progress::Bar;
use crate::api::Empty;
use crate::api::volume::{Volume, VolumeRequest};

pub(super) async fn volume(context: &Context, command: VolumeCommand) -> anyhow::Result<()> {
    let client = context.client()?;
    match command {
        VolumeCommand::Create { name, size, image } => {
            let bar = Bar::new(&format!("create {name}"));
            let request = VolumeRequest { name, size, image };
            let made: Volume = client.progress("/v1/volumes", &request, |line| bar.update(line)).await?;
            if context.json() {
                return output::json(&made);
            }
            output::print(&format!("{}  {}\n", made.name, ByteSize(made.size)))
        }
        VolumeCommand::Ls => {
            let volumes: Vec<Volume> = client.get("/v1/volumes").await?;
            show(context, &volumes, &volumes)
        }
        VolumeCommand::Inspect { name } => {
            let volume: Volume = client.get(&format!("/v1/volumes/{name}")).await?;
            show(context, &volume, std::slice::from_ref(&volume))
        }
        VolumeCommand::Rm { names, force } => {
            for name in names {
                client.delete::<Empty>(&format!("/v1/volumes/{name}?force={force}")).await?;
                output::print(&format!("{name}\n"))?;
            }
            Ok(())
        }
    }
}

fn show(context: &Context, value: &impl serde::Serialize, volumes: &[Volume]) -> anyhow::Result<()> {
    if context.json() {
        return output::json(value);
    }
    let mut table = Table::new(&["NAME", "SIZE", "ON HOST", "MACHINES"]);
    for volume in volumes {
        let users: Vec<&str> = volume.users.iter().map(witvirt_core::Name::as_str).collect();
        table.row([
            volume.name.to_string(),
            ByteSize(volume.size).to_string(),
            ByteSize(volume.allocated).to_string(),
            if users.is_empty() { "-".to_owned() } else { users.join(",") },
        ]);
    }
    output::print(&table.render())
}

//! `witvirt image import` and `witvirt image push`: images that come from elsewhere or go there.

use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::args::{AccessArgs, ImportArgs, Pull, PushArgs};
use super::image::{import as import_here, parse_options, whole};
use super::progress::Bar;
use crate::api::image::{
    ImportReply, ImportRequest, PullPolicy, PushReply, PushRequest, RemoteAccess, UploadParams,
};
use crate::client::{Client, encode};

/// Largest file of credentials or certificates.
const SMALL: u64 = 1 << 20;

/// Imports from wherever the source says.
pub(super) async fn import(client: &Client, args: ImportArgs) -> anyhow::Result<ImportReply> {
    let mut checksums: Vec<String> = args.checksums.iter().map(ToString::to_string).collect();
    checksums.extend(args.sha256.map(|digest| digest.to_string()));
    if args.source == "-" {
        return upload(client, args, checksums).await;
    }
    let remote = args.source.contains("://");
    let source = if remote { args.source.clone() } else { whole(Path::new(&args.source))? };
    let access = RemoteAccess {
        headers: args.headers.iter().map(|header| parse_header(header)).collect::<Result<_, _>>()?,
        ..access(&args.access)?
    };
    if !remote && access != RemoteAccess::default() {
        bail!("credentials, headers and certificates are for servers and registries, not for files");
    }
    let request = ImportRequest {
        source,
        name: args.name,
        format: args.format,
        unpack: args.unpack,
        member: args.member,
        layout: args.layout,
        platform: args.platform,
        checksums,
        pull_policy: match args.pull_policy {
            Pull::Always => PullPolicy::Always,
            Pull::IfNotPresent => PullPolicy::IfNotPresent,
            Pull::Never => PullPolicy::Never,
        },
        replace: args.replace,
        access: Some(access).filter(|access| *access != RemoteAccess::default()),
    };
    Ok(import_here(client, &request).await?)
}

/// Uploads standard input.
async fn upload(client: &Client, args: ImportArgs, checksums: Vec<String>) -> anyhow::Result<ImportReply> {
    let Some(name) = args.name else { bail!("what comes from standard input needs a --name") };
    if checksums.len() > 1 {
        bail!("an upload takes one checksum");
    }
    let params = UploadParams {
        name,
        format: args.format,
        unpack: args.unpack,
        member: args.member,
        checksum: checksums.into_iter().next(),
        replace: args.replace,
    };
    let path = format!("/v1/images?{}", query(&params)?);
    let bar = Bar::new("import standard input");
    Ok(client.upload(&path, length_of_input(), tokio::io::stdin(), |line| bar.update(line)).await?)
}

/// How many bytes standard input has to give, where it is a file.
fn length_of_input() -> Option<u64> {
    let stat = rustix::fs::fstat(std::io::stdin()).ok()?;
    let at = rustix::fs::seek(std::io::stdin(), rustix::fs::SeekFrom::Current(0)).ok()?;
    let file = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
    file.then(|| stat.st_size.unsigned_abs().saturating_sub(at))
}

/// Parameters as they stand in a URL.
fn query(params: &UploadParams) -> anyhow::Result<String> {
    let Value::Object(map) = serde_json::to_value(params)? else { bail!("parameters are no object") };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let pairs = map.iter().map(|(name, value)| format!("{name}={}", encode(&text(value))));
    Ok(pairs.collect::<Vec<_>>().join("&"))
}

/// Pushes.
pub(super) async fn push(client: &Client, args: PushArgs) -> anyhow::Result<PushReply> {
    let Value::Object(options) = parse_options(&args.options)? else { bail!("options are no object") };
    let file = |text: &String| {
        let Some((role, file)) = text.split_once('=') else {
            bail!("--file {text} has no \"=\": write ROLE=FILE")
        };
        Ok((role.to_owned(), whole(Path::new(file))?))
    };
    let access = access(&args.access)?;
    let request = PushRequest {
        target: args.target,
        layout: args.layout,
        format: args.format,
        platform: args.platform,
        options,
        files: args.files.iter().map(file).collect::<Result<_, _>>()?,
        access: Some(access).filter(|access| *access != RemoteAccess::default()),
    };
    let bar = Bar::new(&format!("push {}", args.image));
    let path = format!("/v1/images/{}/push", encode(&args.image));
    Ok(client.progress(&path, &request, |line| bar.update(line)).await?)
}

fn access(args: &AccessArgs) -> anyhow::Result<RemoteAccess> {
    Ok(RemoteAccess {
        docker_config: args.auth_file.as_deref().map(small).transpose()?,
        login: args.login_file.as_deref().map(small).transpose()?.map(|text| text.trim_end().to_owned()),
        ca: args.ca_file.as_deref().map(small).transpose()?,
        ..RemoteAccess::default()
    })
}

/// A small file of text, read with the caller's own rights.
fn small(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    file.take(SMALL + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {}", path.display()))?;
    if text.len() as u64 > SMALL {
        bail!("{} is larger than 1 MiB", path.display());
    }
    Ok(text)
}

fn parse_header(text: &str) -> anyhow::Result<(String, String)> {
    // The text is not shown: it may be a secret.
    let Some((name, value)) = text.split_once(':') else {
        bail!("a --header has no \":\": write \"NAME: VALUE\"")
    };
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{parse_header, query};
    use crate::api::image::UploadParams;

    #[test]
    fn headers_are_split_at_the_first_colon() {
        let header = parse_header("X-Token:  a:b ").unwrap();
        assert_eq!(header, ("X-Token".to_owned(), "a:b".to_owned()));
        assert!(!parse_header("hunter2").unwrap_err().to_string().contains("hunter2"));
    }

    #[test]
    fn a_query_holds_what_was_given() {
        let params = UploadParams {
            name: "a.b".parse().unwrap(),
            format: None,
            unpack: None,
            member: None,
            checksum: Some("sha256:00".to_owned()),
            replace: true,
        };
        assert_eq!(query(&params).unwrap(), "name=a.b&checksum=sha256%3A00&replace=true");
    }
}

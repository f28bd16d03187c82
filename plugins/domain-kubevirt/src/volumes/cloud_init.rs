//! Disks for cloud-init, and the keys in them.

use serde_json::{Map, Value, json};

use super::Content;
use super::data::{Files, decode, named, secret_items};
use crate::draft::Draft;
use crate::metadata;
use crate::tree::Field;

/// Most bytes of inline data that KubeVirt's webhook takes.
const MOST_INLINE: usize = 2048;

/// One of the two texts of a volume: inline, in base64, or in a Secret.
struct Text {
    inline: &'static str,
    base64: &'static str,
    secret: &'static str,
    keys: [&'static str; 2],
}

const USER: Text = Text {
    inline: "userData",
    base64: "userDataBase64",
    secret: "secretRef",
    keys: ["userdata", "userData"],
};
const NETWORK: Text = Text {
    inline: "networkData",
    base64: "networkDataBase64",
    secret: "networkDataSecretRef",
    keys: ["networkdata", "networkData"],
};

impl Text {
    fn read<'a>(&self, source: Field<'a>, draft: &mut Draft<'a>) -> Option<Vec<u8>> {
        let private = |name| source.get(name).and_then(Field::private_string).filter(|text| !text.is_empty());
        let inline = private(self.inline);
        let encoded = private(self.base64);
        let secret = source.get(self.secret);
        let count =
            [inline.is_some(), encoded.is_some(), secret.is_some()].iter().filter(|there| **there).count();
        if count > 1 {
            source.error("kubevirt.cloud-init", || {
                format!("only one of {}, {} and {} may be there", self.inline, self.base64, self.secret)
            });
        }
        for (name, text) in [(self.inline, inline), (self.base64, encoded)] {
            if let Some(text) = text.filter(|text| text.len() > MOST_INLINE)
                && let Some(field) = source.get(name)
            {
                field.warn("kubevirt.cloud-init.size", || {
                    format!(
                        "has {} bytes: a cluster would refuse more than {MOST_INLINE}, use {}",
                        text.len(),
                        self.secret
                    )
                });
            }
        }
        if let Some(secret) = secret {
            return self.of_secret(secret, draft);
        }
        if let Some(text) = inline {
            return Some(text.as_bytes().to_vec());
        }
        decode(source.get(self.base64)?, encoded?)
    }

    fn of_secret<'a>(&self, reference: Field<'a>, draft: &mut Draft<'a>) -> Option<Vec<u8>> {
        let name = reference.required("name")?;
        let object = named(reference, "Secret", name, draft)?;
        let mut items = secret_items(object);
        let found = self.keys.iter().find_map(|key| items.iter().position(|item| item.key == *key));
        if found.is_none() {
            reference
                .error("kubevirt.reference.missing", || format!("Secret {name} has no key {}", self.keys[0]));
        }
        found.map(|index| items.swap_remove(index).bytes)
    }
}

pub(super) fn no_cloud<'a>(source: Field<'a>, name: &str, draft: &mut Draft<'a>) -> Content {
    let (user, network) = (USER.read(source, draft), NETWORK.read(source, draft));
    require(source, &user, &network);
    let mut meta = Map::new();
    if let Some(size) = metadata::instance_type(draft) {
        meta.insert("instance-type".to_owned(), json!(size));
    }
    meta.insert("instance-id".to_owned(), json!(draft.uuid().unwrap_or(&draft.machine.name)));
    meta.insert("local-hostname".to_owned(), json!(metadata::hostname(draft)));
    insert_keys(&mut meta, "public-keys", "noCloud", draft);
    let mut files = Files::default();
    files.add("meta-data", Value::Object(meta).to_string().as_bytes());
    files.add("user-data", &user.unwrap_or_default());
    if let Some(network) = network {
        files.add("network-config", &network);
    }
    files.finish(source, "cidata", name, draft)
}

pub(super) fn config_drive<'a>(source: Field<'a>, name: &str, draft: &mut Draft<'a>) -> Content {
    let (user, network) = (USER.read(source, draft), NETWORK.read(source, draft));
    require(source, &user, &network);
    let mut meta = Map::new();
    if let Some(size) = metadata::instance_type(draft) {
        meta.insert("instance_type".to_owned(), json!(size));
    }
    let id = format!("{}.{}", draft.machine.name, metadata::namespace(draft));
    meta.insert("instance_id".to_owned(), json!(id));
    meta.insert("hostname".to_owned(), json!(metadata::hostname(draft)));
    meta.insert("uuid".to_owned(), json!(draft.uuid().unwrap_or_default()));
    insert_keys(&mut meta, "public_keys", "configDrive", draft);
    let mut files = Files::default();
    files.add("openstack/latest/meta_data.json", Value::Object(meta).to_string().as_bytes());
    files.add("openstack/latest/user_data", &user.unwrap_or_default());
    if let Some(network) = network {
        files.add("openstack/latest/network_data.json", &network);
    }
    files.finish(source, "config-2", name, draft)
}

fn require(source: Field<'_>, user: &Option<Vec<u8>>, network: &Option<Vec<u8>>) {
    let names = [USER.inline, USER.base64, USER.secret, NETWORK.inline, NETWORK.base64, NETWORK.secret];
    let named = names.iter().any(|name| source.get(name).is_some_and(|field| field.string_is_not_empty()));
    if user.is_none() && network.is_none() && !named {
        source.error("kubevirt.value.missing", || "there is neither user data nor network data".to_owned());
    }
}

/// Keys of all Secrets that are to be handed over in this way, numbered.
fn insert_keys(meta: &mut Map<String, Value>, name: &str, way: &'static str, draft: &mut Draft<'_>) {
    let mut keys = Map::new();
    for credential in draft.spec.list("accessCredentials") {
        let Some(key) = credential.get("sshPublicKey") else { continue };
        if key.path(&["propagationMethod", way]).is_none() {
            continue;
        }
        let Some(secret) = key.path(&["source", "secret"]) else {
            key.error("kubevirt.value.missing", || "\"source.secret\" is missing".to_owned());
            continue;
        };
        let Some(wanted) = secret.required("secretName") else { continue };
        let Some(object) = named(secret, "Secret", wanted, draft) else { continue };
        for item in secret_items(object) {
            match String::from_utf8(item.bytes) {
                Ok(text) if !text.is_empty() => {
                    keys.insert(keys.len().to_string(), json!(text));
                }
                Ok(_) => {}
                Err(_) => secret.error("kubevirt.value.invalid", || {
                    format!("key {} of Secret {wanted} is no text", crate::tree::quote(item.key))
                }),
            }
        }
    }
    if !keys.is_empty() {
        meta.insert(name.to_owned(), Value::Object(keys));
    }
}

/// Credentials that nothing hands over.
pub(super) fn credentials(draft: &Draft<'_>, cloud_init: bool) {
    let volumes = draft.spec.list("volumes");
    let has = |kind: &'static str| volumes.iter().any(|volume| volume.get(kind).is_some());
    for credential in draft.spec.list("accessCredentials") {
        if !credential.object() {
            continue;
        }
        if let Some(password) = credential.get("userPassword") {
            password.cover();
            password.error("kubevirt.credentials", || {
                "passwords are set by the guest agent, which is not asked: set it in the user data".to_owned()
            });
        }
        let Some(key) = credential.get("sshPublicKey") else { continue };
        let Some(method) = key.get("propagationMethod") else {
            key.required("propagationMethod");
            continue;
        };
        if let Some(source) = key.get("source") {
            source.cover();
        }
        for (way, volume) in [("noCloud", "cloudInitNoCloud"), ("configDrive", "cloudInitConfigDrive")] {
            let Some(field) = method.get(way) else { continue };
            field.object();
            if !cloud_init || !has(volume) {
                field.error("kubevirt.credentials", || format!("needs a volume with {volume}"));
            }
        }
        if let Some(agent) = method.get("qemuGuestAgent") {
            agent.cover();
            agent.error("kubevirt.credentials", || {
                "the guest agent is not asked: use noCloud or configDrive".to_owned()
            });
        }
    }
}

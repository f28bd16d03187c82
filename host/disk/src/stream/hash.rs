//! Hashing the bytes of a source as they pass by.

use md5::Md5;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest as _, Sha256, Sha512};
use witvirt_core::Digest;

use crate::digests::{Algorithm, Checksum};
use crate::error::{Error, ErrorKind, Result};

/// Several hash functions over one sequence of bytes.
#[derive(Clone)]
pub(crate) struct Hashers {
    running: Vec<Hasher>,
    bytes: u64,
}

#[derive(Clone)]
enum Hasher {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
}

/// Hash functions halfway through, as a journal keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedHashers {
    /// How many bytes they have seen.
    pub(crate) bytes: u64,
    /// Name of the function and its state in hexadecimal digits.
    states: Vec<(String, String)>,
}

/// What a sequence of bytes hashes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hashed {
    /// How many bytes there were.
    pub(crate) bytes: u64,
    digests: Vec<Checksum>,
}

impl Hashers {
    /// The functions of `checksums`, and SHA-256.
    pub(crate) fn new(checksums: &[Checksum]) -> Self {
        let wanted = |algorithm: &Algorithm| {
            *algorithm == Algorithm::Sha256 || checksums.iter().any(|sum| sum.algorithm() == *algorithm)
        };
        let running = Algorithm::ALL.into_iter().filter(wanted).map(Hasher::new).collect();
        Self { running, bytes: 0 }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        for hasher in &mut self.running {
            match hasher {
                Hasher::Md5(hasher) => hasher.update(bytes),
                Hasher::Sha1(hasher) => hasher.update(bytes),
                Hasher::Sha256(hasher) => hasher.update(bytes),
                Hasher::Sha512(hasher) => hasher.update(bytes),
            }
        }
    }

    /// How many bytes they have seen.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn save(&self) -> SavedHashers {
        let save = |hasher: &Hasher| (hasher.algorithm().name().to_owned(), hex(&hasher.save()));
        SavedHashers { bytes: self.bytes, states: self.running.iter().map(save).collect() }
    }

    /// Goes on where `saved` ended; `None` unless it has all the functions of `checksums`.
    pub(crate) fn restore(saved: &SavedHashers, checksums: &[Checksum]) -> Option<Self> {
        let mut hashers = Self::new(checksums);
        for hasher in &mut hashers.running {
            let name = hasher.algorithm().name();
            let (_, state) = saved.states.iter().find(|(known, _)| known == name)?;
            *hasher = Hasher::restore(hasher.algorithm(), &unhex(state)?)?;
        }
        hashers.bytes = saved.bytes;
        Some(hashers)
    }

    pub(crate) fn finish(self) -> Hashed {
        let finish = |hasher: Hasher| {
            let algorithm = hasher.algorithm();
            let value = match hasher {
                Hasher::Md5(hasher) => hasher.finalize().to_vec(),
                Hasher::Sha1(hasher) => hasher.finalize().to_vec(),
                Hasher::Sha256(hasher) => hasher.finalize().to_vec(),
                Hasher::Sha512(hasher) => hasher.finalize().to_vec(),
            };
            Checksum::new(algorithm, &value)
        };
        Hashed { bytes: self.bytes, digests: self.running.into_iter().filter_map(finish).collect() }
    }
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Md5(_) => Algorithm::Md5,
            Self::Sha1(_) => Algorithm::Sha1,
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    fn save(&self) -> Vec<u8> {
        match self {
            Self::Md5(hasher) => hasher.serialize().to_vec(),
            Self::Sha1(hasher) => hasher.serialize().to_vec(),
            Self::Sha256(hasher) => hasher.serialize().to_vec(),
            Self::Sha512(hasher) => hasher.serialize().to_vec(),
        }
    }

    fn restore(algorithm: Algorithm, state: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::Md5 => restored(state).map(Self::Md5),
            Algorithm::Sha1 => restored(state).map(Self::Sha1),
            Algorithm::Sha256 => restored(state).map(Self::Sha256),
            Algorithm::Sha512 => restored(state).map(Self::Sha512),
        }
    }
}

fn restored<H: SerializableState>(state: &[u8]) -> Option<H> {
    let state = <&SerializedState<H>>::try_from(state).ok()?;
    H::deserialize(state).ok()
}

impl Hashed {
    /// The SHA-256.
    pub(crate) fn sha256(&self) -> Option<Digest> {
        let sum = self.digests.iter().find(|sum| sum.algorithm() == Algorithm::Sha256)?;
        sum.value().try_into().ok().map(Digest::from_bytes)
    }

    /// Compares with what was expected.
    ///
    /// # Errors
    /// `Corrupt`, with both digests.
    pub(crate) fn verify(&self, label: &str, expected: &[Checksum]) -> Result<()> {
        for sum in expected {
            let actual = self.digests.iter().find(|actual| actual.algorithm() == sum.algorithm());
            if actual == Some(sum) {
                continue;
            }
            let actual = actual.map_or_else(|| "nothing".to_owned(), Checksum::to_string);
            let message = format!("{label} has the digest {actual}, not {sum}");
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        Ok(())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::Hashers;
    use crate::digests::Checksum;

    /// RFC 1321 A.5, FIPS 180-2 B.1 and C.1.
    const ABC: [&str; 4] = [
        "900150983cd24fb0d6963f7d28e17f72",
        "a9993e364706816aba3e25717850c26c9cd0d89d",
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "SHA512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
         2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    ];

    #[test]
    fn hashes_stop_and_go_on() {
        let sums: Vec<Checksum> = ABC.iter().map(|text| text.parse().unwrap()).collect();
        let mut hashers = Hashers::new(&sums);
        hashers.update(b"a");
        let saved: super::SavedHashers =
            serde_json::from_str(&serde_json::to_string(&hashers.save()).unwrap()).unwrap();
        let mut hashers = Hashers::restore(&saved, &sums).unwrap();
        hashers.update(b"bc");
        let hashed = hashers.finish();
        hashed.verify("abc", &sums).unwrap();
        assert_eq!((hashed.bytes, Checksum::from(hashed.sha256().unwrap())), (3, sums[2].clone()));
        for sum in &sums {
            let mut other = Hashers::new(&sums);
            other.update(b"abd");
            let error = other.finish().verify("abd", std::slice::from_ref(sum)).unwrap_err();
            assert!(error.to_string().contains(&sum.to_string()), "{error}");
        }
        // What it never hashed cannot be resumed.
        assert!(Hashers::restore(&Hashers::new(&[]).save(), &sums).is_none());
    }

    #[test]
    fn checksums_are_read_as_they_are_published() {
        for text in ABC {
            let sum: Checksum = text.parse().unwrap();
            assert_eq!(sum.to_string().parse(), Ok(sum));
        }
        let long = "0".repeat(64);
        for bad in ["", "md5:", "abc", &format!("md5:{long}"), &format!("sha3:{long}"), &"g".repeat(32), "é"]
        {
            assert!(bad.parse::<Checksum>().is_err(), "{bad}");
        }
    }
}

//! Which certificates are trusted.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use witvirt_disk::{Error, ErrorKind, Result};

use crate::access::read_small;

/// Certificates that are trusted besides those of the system.
#[derive(Clone, Default)]
pub struct Authorities(Vec<CertificateDer<'static>>);

impl Authorities {
    /// From PEM. Whatever is no certificate in it is passed over.
    ///
    /// # Errors
    /// `InvalidInput` when there is no certificate in it, or a broken one.
    pub fn from_pem(pem: &[u8]) -> Result<Self> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidInput, message);
        let certificates = CertificateDer::pem_slice_iter(pem)
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|error| invalid(format!("certificates that are no PEM: {error}")))?;
        if certificates.is_empty() {
            return Err(invalid("no certificate in it: PEM with BEGIN CERTIFICATE is wanted".to_owned()));
        }
        // Found out here, where the file can be named, and not with the first connection.
        for certificate in &certificates {
            RootCertStore::empty()
                .add(certificate.clone())
                .map_err(|error| invalid(format!("a certificate that cannot be read: {error}")))?;
        }
        Ok(Self(certificates))
    }

    /// From a file of PEM.
    ///
    /// # Errors
    /// As [`Authorities::from_pem`]; whatever reading the file reports.
    pub fn from_file(path: &Path) -> Result<Self> {
        let pem = read_small(path)?;
        Self::from_pem(&pem).map_err(|error| error.during(path.display()))
    }

    /// These and those.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.0.extend(other.0.iter().cloned());
        self
    }
}

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authorities({} certificates)", self.0.len())
    }
}

/// TLS 1.2 and 1.3 with the system's authorities and these.
pub(crate) fn config(authorities: &Authorities) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    // Single certificates of a system that are broken are no reason not to trust the others.
    roots.add_parsable_certificates(system().iter().cloned());
    roots.add_parsable_certificates(authorities.0.iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Unsupported, format!("TLS: {error}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Read once: it is a quarter of a megabyte of PEM.
fn system() -> &'static [CertificateDer<'static>] {
    static SYSTEM: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    SYSTEM.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "an authority of the system cannot be read");
        }
        found.certs
    })
}

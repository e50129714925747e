//! The PEM files TLS is made from: read, checked, and told apart when they change.
//!
//! Each fault names the setting and the way out, and never the path or the content: who mistakes a file's key for the secret itself has
//! written the secret there. Limits: PEM only; a private key must not be encrypted (its password would stand beside it anyway).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Where the files are; all of them are optional, the client's certificate and key come together.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// CAs to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Our own certificate, with those that lead to its CA behind it.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsRole {
    /// [`TlsFiles::ca`].
    Ca,
    /// [`TlsFiles::certificate`].
    Certificate,
    /// [`TlsFiles::key`].
    Key,
}

/// A file that cannot be used.
#[derive(Debug)]
pub struct FileFault {
    /// Which.
    pub role: TlsRole,
    /// What is wrong with it.
    pub rule: String,
    /// What to do.
    pub way_out: &'static str,
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = match self.role {
            TlsRole::Ca => "the CA file",
            TlsRole::Certificate => "the file of the client's certificate",
            TlsRole::Key => "the file of the client's key",
        };
        write!(f, "{file} {}; {}", self.rule, self.way_out)
    }
}

/// Marks by which a changed file is known: time of change and length. `None` for a file that is not there.
pub(super) type Stamps = [Option<(SystemTime, u64)>; 3];

impl TlsFiles {
    /// The marks of all files, now.
    pub(super) fn stamps(&self) -> Stamps {
        [&self.ca, &self.certificate, &self.key].map(|path| stamp(path.as_deref()?))
    }

    /// Everything that is wrong with the files, each looked at by itself; whether two fit each other is asked when both are good.
    pub(super) fn faults(&self) -> Vec<FileFault> {
        let certificate = self.certificate.as_deref().and_then(|path| chain(TlsRole::Certificate, path).err());
        let key = self.key.as_deref().and_then(|path| private_key(path).err());
        let alone: Vec<_> = [self.roots().err(), certificate, key].into_iter().flatten().collect();
        if alone.is_empty() { self.read().err().into_iter().collect() } else { alone }
    }

    fn roots(&self) -> Result<RootCertStore, FileFault> {
        self.ca.as_deref().map_or_else(roots_of_the_system, own_roots)
    }

    /// Reads and checks all files.
    pub(super) fn read(&self) -> Result<ClientConfig, FileFault> {
        let roots = self.roots()?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| fault(TlsRole::Ca, "meets a TLS library without a protocol", "report it: a defect"))?
            .with_root_certificates(roots);
        let mut config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => builder
                .with_client_auth_cert(chain(TlsRole::Certificate, certificate)?, private_key(key)?)
                .map_err(|_| {
                    let rule = "is not the key of the client's certificate";
                    fault(TlsRole::Key, rule, "give the two files that were made together")
                })?,
            _ => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn own_roots(path: &Path) -> Result<RootCertStore, FileFault> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(TlsRole::Ca, path)? {
        roots.add(certificate).map_err(|_| {
            fault(
                TlsRole::Ca,
                "holds a certificate that cannot be that of a CA",
                "give the CA's own certificate, in PEM",
            )
        })?;
    }
    Ok(roots)
}

fn roots_of_the_system() -> Result<RootCertStore, FileFault> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let rule = "is not set, and this system has no CA certificates of its own";
        return Err(fault(TlsRole::Ca, rule, "set redis.tls.ca_file, or install the system's ca-certificates"));
    }
    Ok(roots)
}

fn chain(role: TlsRole, path: &Path) -> Result<Vec<CertificateDer<'static>>, FileFault> {
    let pem = read(role, path)?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().unwrap_or_default();
    if certificates.is_empty() {
        return Err(fault(role, "holds no certificate in PEM", "it begins with -----BEGIN CERTIFICATE-----"));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileFault> {
    let pem = read(TlsRole::Key, path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        let rule = "holds no private key in PEM, or an encrypted one";
        fault(TlsRole::Key, rule, "it begins with -----BEGIN PRIVATE KEY-----") // pragma: allowlist secret
    })
}

fn read(role: TlsRole, path: &Path) -> Result<Vec<u8>, FileFault> {
    std::fs::read(path).map_err(|error| FileFault {
        role,
        rule: format!("cannot be read ({})", error.kind()),
        way_out: "check that the path exists and this user may read it",
    })
}

fn fault(role: TlsRole, rule: &str, way_out: &'static str) -> FileFault {
    FileFault { role, rule: rule.to_owned(), way_out }
}

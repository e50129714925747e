//! Certificates made for one test: an authority, servers, clients, and bad ones of each.
//!
//! What: [`Authority`] signs; each [`Certificate`] is a pair of PEM files in the authority's directory, as an operator would have
//! them. Why so: nothing that expires lies in the repository, and every test can have the certificate that it needs to be wrong.
//! Limits: one level, no intermediates.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// A certificate authority. Dropping it removes all its files.
pub struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority that nobody trusts yet.
    pub fn new() -> Authority {
        let directory = tempfile::Builder::new().prefix("ca-").tempdir().expect("a directory for certificates");
        let mut params = CertificateParams::default();
        // A name of its own, as authorities have; one of a trusted name is a stranger all the same.
        params.distinguished_name.push(DnType::CommonName, format!("authority {:016x}", fastrand::u64(..)));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate of the authority");
        std::fs::write(directory.path().join("ca.pem"), certificate.pem()).expect("a file for the authority");
        Authority { directory, issuer: Issuer::new(params, key) }
    }

    /// The authority's own certificate: what is to be trusted.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A certificate for a server of this name.
    pub fn server(&self, name: &str) -> Certificate {
        self.sign("server", name, ExtendedKeyUsagePurpose::ServerAuth, |_| {})
    }

    /// A certificate for a server of this name that expired long ago.
    pub fn expired_server(&self, name: &str) -> Certificate {
        self.sign("expired", name, ExtendedKeyUsagePurpose::ServerAuth, |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        })
    }

    /// A certificate for a client.
    pub fn client(&self) -> Certificate {
        self.sign("client", "gateway.example", ExtendedKeyUsagePurpose::ClientAuth, |_| {})
    }

    fn sign(
        &self,
        file: &str,
        name: &str,
        purpose: ExtendedKeyUsagePurpose,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Certificate {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![purpose];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("a signature");
        let path = |end: &str| self.directory.path().join(format!("{file}.{end}"));
        let certificate = Certificate { certificate: path("pem"), key: path("key") };
        std::fs::write(&certificate.certificate, signed.pem()).expect("a file for the certificate");
        std::fs::write(&certificate.key, key.serialize_pem()).expect("a file for the key");
        certificate
    }
}

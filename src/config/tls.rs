//! Whether the TLS files can be used, asked before any port is opened.
//!
//! Why here: an operator wants a wrong path beside his other mistakes and not as an outage after the start. Files that turn bad later
//! are the redis room's affair. Limits: a certificate that only the server can judge (expired, from another CA) is not judged here.

use super::layers::Layers;
use super::mistake::{Complaint, Mistake};
use super::redis_url::Address;
use super::settings::{RedisTls, Settings};
use crate::redis::{Tls, TlsError, TlsFiles, TlsRole};

impl RedisTls {
    /// The files as the redis room takes them.
    pub fn files(&self) -> TlsFiles {
        TlsFiles { ca: self.ca_file.clone(), certificate: self.cert_file.clone(), key: self.key_file.clone() }
    }
}

/// The mistakes in the files, if TLS is spoken.
pub(super) fn mistakes(settings: &Settings, layers: &Layers) -> Vec<Mistake> {
    let address = settings.redis.url.as_ref().map(|url| &url.address);
    let Some(Address::Tcp { host, tls: true, .. }) = address else { return Vec::new() };
    let errors = Tls::errors(host, &settings.redis.tls.files());
    errors.into_iter().map(|error| mistake(error, layers)).collect()
}

fn mistake(error: TlsError, layers: &Layers) -> Mistake {
    let (key, complaint) = match error {
        TlsError::Name => (
            "redis.url",
            Complaint::new(
                "has a host that no certificate can name",
                "write a host name or an IP address without a zone",
            ),
        ),
        TlsError::File(fault) => (key(fault.role), Complaint::new(fault.rule, fault.way_out)),
    };
    complaint.at(key, layers.source(key))
}

fn key(role: TlsRole) -> &'static str {
    match role {
        TlsRole::Ca => "redis.tls.ca_file",
        TlsRole::Certificate => "redis.tls.cert_file",
        TlsRole::Key => "redis.tls.key_file",
    }
}

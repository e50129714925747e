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

/// The mistake in the files, if TLS is spoken and there is one.
pub(super) fn mistake(settings: &Settings, layers: &Layers) -> Option<Mistake> {
    let url = settings.redis.url.as_ref()?;
    let Address::Tcp { host, tls: true, .. } = &url.address else { return None };
    let (key, complaint) = match Tls::load(host, settings.redis.tls.files()).err()? {
        TlsError::Name => (
            "redis.url",
            Complaint::new(
                "has a host that no certificate can name",
                "write a host name or an IP address without a zone",
            ),
        ),
        TlsError::File(fault) => (key(fault.role), Complaint::new(fault.rule, fault.way_out)),
    };
    Some(complaint.at(key, layers.source(key)))
}

fn key(role: TlsRole) -> &'static str {
    match role {
        TlsRole::Ca => "redis.tls.ca_file",
        TlsRole::Certificate => "redis.tls.cert_file",
        TlsRole::Key => "redis.tls.key_file",
    }
}

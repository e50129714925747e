//! Why a connection within TLS failed, in words an operator can act on.
//!
//! The library's own texts quote names and certificates; these are fixed, so that nothing of either side's can reach `/status`.
//! Limits: an alert names what the *server* disliked as coarsely as the server chose to.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::{AlertDescription, CertificateError, Error};

/// A reason within TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Fault {
    UnknownIssuer,
    WrongName,
    Expired,
    NotYetValid,
    Unacceptable,
    ClientCertificateWanted,
    ClientCertificateRefused,
    NotTls,
    NothingInCommon,
    Failed,
}

/// Where a stream leaves the reason it failed for: the driver in between turns errors into texts of its own.
pub(in super::super) type FaultSlot = Arc<OnceLock<Fault>>;

impl Fault {
    /// The reason behind an error of a TLS stream; `None` if it is one of the transport below.
    pub(in super::super) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Error>().map(Self::of_library)
    }

    fn of_library(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::AlertReceived(alert) => Self::of_alert(*alert),
            Error::InvalidMessage(_) => Self::NotTls,
            Error::PeerIncompatible(_) => Self::NothingInCommon,
            _ => Self::Failed,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::WrongName,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            _ => Self::Unacceptable,
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => Self::ClientCertificateWanted,
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            // A certificate of a CA that bears the trusted one's name and is another: its signature does not fit.
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied => Self::ClientCertificateRefused,
            // A server of TLS 1.2 that misses a client certificate says no more than this, too.
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity => Self::NothingInCommon,
            _ => Self::Failed,
        }
    }

    /// The reason, with the key to look at.
    pub(in super::super) fn as_str(self) -> &'static str {
        match self {
            Self::UnknownIssuer => "TLS: the certificate of Redis is not from a trusted CA (redis.tls.ca_file)",
            Self::WrongName => "TLS: the certificate of Redis does not bear the host name in redis.url",
            Self::Expired => "TLS: the certificate of Redis has expired",
            Self::NotYetValid => "TLS: the certificate of Redis is not valid yet; compare the clocks",
            Self::Unacceptable => "TLS: the certificate of Redis is not acceptable as that of a server",
            Self::ClientCertificateWanted => "TLS: Redis wants a client certificate (redis.tls.cert_file)",
            Self::ClientCertificateRefused => "TLS: Redis refuses our client certificate (redis.tls.cert_file)",
            Self::NotTls => "TLS: the port in redis.url does not speak TLS",
            Self::NothingInCommon => {
                "TLS: Redis refuses the handshake: no common version or cipher, or it misses a client certificate"
            }
            Self::Failed => "TLS: the handshake failed",
        }
    }
}

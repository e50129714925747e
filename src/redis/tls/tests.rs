//! Files that cannot be used, files that change, and errors that are told apart. The handshake itself is tested against a real Redis.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::{AlertDescription, CertificateError, Error};

use super::*;

/// A self-signed certificate and its key, in PEM.
fn pair() -> (String, String) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn write(directory: &Path, name: &str, text: &str) -> Option<PathBuf> {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    Some(path)
}

fn fault(files: TlsFiles) -> FileFault {
    match Tls::load("localhost", files).err() {
        Some(TlsError::File(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named_by_its_role_and_nothing_of_it_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let (certificate, key) = pair();
    let (_, stranger) = pair();
    let ca = write(directory, "canary-ca", &certificate);
    let own = write(directory, "canary-own", &certificate);
    let no_pem = write(directory, "canary-none", "canary");
    let with = |certificate: &Option<PathBuf>, key: &Option<PathBuf>| TlsFiles {
        ca: ca.clone(),
        certificate: certificate.clone(),
        key: key.clone(),
    };
    let missing = TlsFiles { ca: Some(directory.join("canary-missing")), ..TlsFiles::default() };
    let cases = [
        (missing, TlsRole::Ca, "cannot be read"),
        (TlsFiles { ca: no_pem.clone(), ..TlsFiles::default() }, TlsRole::Ca, "no certificate"),
        (with(&no_pem, &write(directory, "key", &key)), TlsRole::Certificate, "no certificate"),
        (with(&own, &no_pem), TlsRole::Key, "no private key"),
        (with(&own, &write(directory, "strange-key", &stranger)), TlsRole::Key, "is not the key"),
    ];
    for (files, role, rule) in cases {
        let fault = fault(files);
        assert!(fault.role == role && fault.rule.contains(rule), "{fault}");
        assert!(!fault.to_string().contains("canary"), "{fault}");
    }
    Tls::load("localhost", with(&own, &write(directory, "key", &key))).unwrap();
}

#[test]
fn a_host_must_be_one_that_a_certificate_can_name() {
    let directory = tempfile::tempdir().unwrap();
    let files = TlsFiles { ca: write(directory.path(), "ca", &pair().0), ..TlsFiles::default() };
    for host in ["localhost", "db-1.example", "127.0.0.1", "::1"] {
        Tls::load(host, files.clone()).unwrap();
    }
    for host in ["a..b", "-", "300.1.1.1"] {
        assert!(matches!(Tls::load(host, files.clone()), Err(TlsError::Name)), "{host}");
    }
}

#[test]
fn files_that_change_are_read_anew_and_bad_ones_leave_the_former_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), "ca", &pair().0);
    let tls = Tls::load("localhost", TlsFiles { ca: path.clone(), ..TlsFiles::default() }).unwrap();
    let first = tls.config();
    assert!(Arc::ptr_eq(&first, &tls.config()), "unchanged files are not read again");
    write(directory.path(), "ca", "half a file");
    assert!(Arc::ptr_eq(&first, &tls.config()), "what cannot be used changes nothing");
    std::fs::remove_file(path.unwrap()).unwrap();
    assert!(Arc::ptr_eq(&first, &tls.config()), "nor does a file that is gone for a moment");
    write(directory.path(), "ca", &pair().0);
    assert!(!Arc::ptr_eq(&first, &tls.config()));
}

#[test]
fn what_the_library_reports_is_told_apart() {
    let of = |error: Error| Fault::of(&io::Error::new(io::ErrorKind::InvalidData, error)).unwrap();
    let certificate = |error| of(Error::InvalidCertificate(error));
    assert_eq!(certificate(CertificateError::UnknownIssuer), Fault::UnknownIssuer);
    assert_eq!(certificate(CertificateError::NotValidForName), Fault::WrongName);
    assert_eq!(certificate(CertificateError::Expired), Fault::Expired);
    assert_eq!(certificate(CertificateError::NotValidYet), Fault::NotYetValid);
    assert_eq!(certificate(CertificateError::InvalidPurpose), Fault::Unacceptable);
    assert_eq!(of(Error::AlertReceived(AlertDescription::CertificateRequired)), Fault::ClientCertificateWanted);
    assert_eq!(of(Error::AlertReceived(AlertDescription::UnknownCA)), Fault::ClientCertificateRefused);
    assert_eq!(of(Error::AlertReceived(AlertDescription::HandshakeFailure)), Fault::NothingInCommon);
    assert_eq!(of(Error::AlertReceived(AlertDescription::DecryptError)), Fault::ClientCertificateRefused);
    assert_eq!(certificate(CertificateError::BadSignature), Fault::UnknownIssuer);
    assert_eq!(of(Error::DecryptError), Fault::Failed);
    assert_eq!(Fault::of(&io::ErrorKind::ConnectionReset.into()), None);
    assert_eq!(Fault::of(&io::Error::other("not of TLS")), None);
}

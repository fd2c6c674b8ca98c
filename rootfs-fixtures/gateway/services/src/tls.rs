//! TLS with the site's own authority.

use std::sync::Arc;

use rumqttc::TlsConfiguration;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The files of a connection: the authority, and the own certificate with its key.
#[derive(Clone, Debug)]
pub struct Files {
    /// Certificates of the authority.
    pub ca: String,
    /// The own certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

/// Reads the files. No other authority is trusted.
pub fn configuration(files: &Files) -> Result<TlsConfiguration, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        roots.add(certificate).map_err(|e| format!("{}: {e}", files.ca))?;
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| format!("{}: {e}", files.key))?;
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS: {e}"))?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&files.cert)?, key)
        .map_err(|e| format!("{}: {e}", files.cert))?;
    Ok(TlsConfiguration::Rustls(Arc::new(config)))
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_file_iter(path)
        .and_then(|found| found.collect::<Result<Vec<_>, _>>())
        .map_err(|e| format!("{path}: {e}"))
}

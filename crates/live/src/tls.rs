//! TLS with certificates that are given.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate and those that vouch for it, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct TlsError {
    file: String,
    problem: String,
}

fn wrong(file: &Path, problem: impl ToString) -> TlsError {
    TlsError { file: file.display().to_string(), problem: problem.to_string() }
}

/// Takes connections with this certificate.
///
/// # Errors
/// Files that cannot be read, or that do not go together.
pub fn acceptor(files: &Files) -> Result<TlsAcceptor, TlsError> {
    let no_certificate = |error| wrong(&files.certificate, error);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(no_certificate)?;
    if chain.is_empty() {
        return Err(wrong(&files.certificate, "has no certificate (PEM)"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| wrong(&files.key, error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| wrong(&files.certificate, error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

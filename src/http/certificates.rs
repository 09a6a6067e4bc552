//! The certificate that TLS connections are answered with, and its key.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use tokio_rustls::TlsAcceptor;

/// The only protocol that is spoken.
const HTTP_1_1: &[u8] = b"http/1.1";

/// A certificate and its key, as they were read last. Connections keep the ones that they began with.
pub struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    config: RwLock<Arc<ServerConfig>>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("cannot read {path}")]
    Read { path: String, source: io::Error },
    #[error("{path} holds no {what} in PEM format")]
    NotPem { path: String, what: &'static str },
    #[error("the certificate in {certificate} cannot be used with the key in {key}")]
    Unfit { certificate: String, key: String, source: rustls::Error },
}

impl Certificates {
    /// Reads a certificate, with those that lead to its authority behind it, and its key.
    pub fn open(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, CertificateError> {
        let (certificate, key) = (certificate.into(), key.into());
        let config = RwLock::new(read(&certificate, &key)?);
        Ok(Self { certificate, key, config })
    }

    /// Reads both again, for the connections to come; after an error the old ones stay.
    pub fn reload(&self) -> Result<(), CertificateError> {
        let config = read(&self.certificate, &self.key)?;
        *self.config.write() = config;
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.config.read()).into()
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, CertificateError> {
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain: Vec<CertificateDer<'static>> =
        chain.map_err(|error| unread(certificate, "certificate", error))?;
    if chain.is_empty() {
        return Err(CertificateError::NotPem { path: shown(certificate), what: "certificate" });
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unread(key, "private key", error))?;
    let unfit = |source| CertificateError::Unfit { certificate: shown(certificate), key: shown(key), source };
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config =
        builder.map_err(unfit)?.with_no_client_auth().with_single_cert(chain, secret).map_err(unfit)?;
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(Arc::new(config))
}

fn unread(path: &Path, what: &'static str, error: pem::Error) -> CertificateError {
    match error {
        pem::Error::Io(source) => CertificateError::Read { path: shown(path), source },
        _ => CertificateError::NotPem { path: shown(path), what },
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

//! What it takes to be let in, and to know the service.

use std::{fs, io::Read, path::Path};

use reqwest::{Certificate, header::HeaderValue};

use super::ClientError;

/// Files of this kind are small.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A key to be let in with, and the authorities that the service is known by. Without them neither a key is sent nor is
/// any authority known but those of the system.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    pub key: Option<ApiKey>,
    pub authorities: Option<Authorities>,
}

/// A key, as it is sent. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct ApiKey(pub(super) HeaderValue);

/// The certificates of authorities.
#[derive(Clone, Debug)]
pub struct Authorities(pub(super) Vec<Certificate>);

impl ApiKey {
    /// From the text of the key, which no error shows.
    pub fn parse(text: &str) -> Result<Self, ClientError> {
        let allowed = "a key, or @ and a file that holds one; a key has no spaces";
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ClientError::Key(allowed));
        }
        let mut value =
            HeaderValue::try_from(format!("Bearer {text}")).map_err(|_| ClientError::Key(allowed))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// From a file that holds nothing else.
    pub fn read(path: &Path) -> Result<Self, ClientError> {
        Self::parse(&String::from_utf8_lossy(&contents(path)?))
    }
}

impl Authorities {
    /// From a file in PEM format.
    pub fn read(path: &Path) -> Result<Self, ClientError> {
        let certificates = Certificate::from_pem_bundle(&contents(path)?).unwrap_or_default();
        match certificates.is_empty() {
            true => Err(ClientError::NoAuthorities { path: path.display().to_string() }),
            false => Ok(Self(certificates)),
        }
    }
}

fn contents(path: &Path) -> Result<Vec<u8>, ClientError> {
    let failed = |source| ClientError::File { path: path.display().to_string(), source };
    let mut contents = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut contents))
        .map_err(failed)?;
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sent_and_never_shown() {
        let key = ApiKey::parse(" sekali_secret\n").unwrap();
        assert_eq!(key.0.to_str().unwrap(), "Bearer sekali_secret");
        assert!(!format!("{key:?}").contains("secret"));
        for text in ["", " ", "two words", "a\nb", "\u{e4}"] {
            let error = ApiKey::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("--key must be a key, or @"), "{error}");
        }
    }
}

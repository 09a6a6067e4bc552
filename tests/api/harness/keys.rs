//! A file of keys, made with the command line.

use std::path::{Path, PathBuf};

use super::{
    Answer, Client,
    process::{finished, sekali},
};

/// A folder with a file of keys.
pub struct KeyFile {
    folder: tempfile::TempDir,
}

impl KeyFile {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    /// Makes a key with these arguments; answers it.
    pub fn make(&self, name: &str, arguments: &[&str]) -> String {
        let mut command = sekali(&["key", "new", name, "--api-keys"]);
        let output = finished(command.arg(self.path()).args(arguments));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    pub fn revoke(&self, name: &str) {
        let mut command = sekali(&["key", "revoke", name, "--api-keys"]);
        assert!(finished(command.arg(self.path())).status.success());
    }
}

/// Sends a request with a key.
pub async fn ask(client: &Client, key: &str, method: &str, path: &str, body: impl ToString) -> Answer {
    let request = client.request(method, path).bearer_auth(key);
    let request = request.header("content-type", "application/json").body(body.to_string());
    client.send(request).await.unwrap()
}

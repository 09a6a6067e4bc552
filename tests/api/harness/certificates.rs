//! Certificates of an authority of the test's own, made by openssl.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A folder with an authority, `ca.pem`, and what it has signed.
pub struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let authority = Self { folder: tempfile::tempdir().unwrap() };
        let new = ["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=authority of a test"];
        authority
            .openssl(&[&new[..], &["-newkey", "rsa:2048", "-keyout", "ca.key", "-out", "ca.pem"]].concat());
        fs::write(authority.folder().join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
        authority
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Makes `NAME.pem` and `NAME.key` for this machine, with a serial number.
    pub fn sign(&self, name: &str, serial: &str) {
        let file = |end: &str| format!("{name}.{end}");
        let (certificate, key, request) = (file("pem"), file("key"), file("csr"));
        let new = ["req", "-new", "-nodes", "-subj", "/CN=localhost", "-newkey", "rsa:2048"];
        self.openssl(&[&new[..], &["-keyout", &key, "-out", &request]].concat());
        let sign = ["x509", "-req", "-days", "2", "-CA", "ca.pem", "-CAkey", "ca.key", "-extfile", "names"];
        self.openssl(&[&sign[..], &["-set_serial", serial, "-in", &request, "-out", &certificate]].concat());
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(self.folder()).output().unwrap();
        assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    }
}

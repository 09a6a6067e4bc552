//! A disk that can be full: a small one in memory where something can be mounted, else a limit on the size of files.

use std::{
    fs,
    io::Write,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

/// A folder whose disk has little space; dropping it removes it.
pub struct SmallDisk {
    folder: TempDir,
    /// Whether it is really small, for everybody who writes to it.
    pub is_mounted: bool,
}

impl SmallDisk {
    pub fn create(bytes: u64) -> Self {
        // Open to the user that Postgres runs as.
        let folder = tempfile::Builder::new().prefix("sekali-disk-").tempdir_in("/tmp").unwrap();
        let size = format!("size={bytes},mode=0777");
        let mount = &["-t", "tmpfs", "-o", &size, "sekali-disk"];
        let is_mounted = quietly(Command::new("mount").args(mount).arg(folder.path()));
        if !is_mounted {
            eprintln!("nothing can be mounted here: the size of files is limited instead");
            let _ = quietly(Command::new("chmod").arg("0777").arg(folder.path()));
        }
        Self { folder, is_mounted }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves no space, for these processes at least; where only sizes can be limited, files may grow up to
    /// `file_bytes_max`.
    pub fn fill(&self, processes: &[u32], file_bytes_max: u64) {
        if !self.is_mounted {
            return limit_files(processes, &file_bytes_max.to_string());
        }
        let mut ballast = fs::File::create(self.ballast()).unwrap();
        let mut piece = vec![0; 1 << 20];
        while !piece.is_empty() {
            if ballast.write_all(&piece).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
    }

    /// Makes space again.
    pub fn free(&self, processes: &[u32]) {
        if !self.is_mounted {
            return limit_files(processes, "unlimited");
        }
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> std::path::PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.is_mounted {
            // Lazily: a process that is just ending may still have a file open.
            quietly(Command::new("umount").arg("--lazy").arg(self.path()));
        }
    }
}

/// The user of a process may limit it, and not everybody who calls itself root.
fn limit_files(processes: &[u32], bytes: &str) {
    let own_user = fs::metadata("/proc/self").unwrap().uid();
    let limited = processes.iter().filter(|process| {
        let Ok(process_folder) = fs::metadata(format!("/proc/{process}")) else {
            return false; // it has just ended
        };
        let (user, group) = (process_folder.uid(), process_folder.gid());
        let mut command = Command::new("prlimit");
        if user != own_user {
            command = Command::new("setpriv");
            command.args([&format!("--reuid={user}"), &format!("--regid={group}"), "--clear-groups"]);
            command.args(["--", "prlimit"]);
        }
        let limit = format!("--fsize={bytes}:unlimited");
        quietly(command.args(["--pid", &process.to_string(), &limit]))
    });
    assert!(limited.count() > 0, "no size can be limited either");
}

fn quietly(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

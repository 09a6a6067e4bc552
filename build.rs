//! Tells the crate the commit that it is built from: `SEKALI_COMMIT` where that is set (an image is built without the
//! repository), else what git says, else nothing.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

const VARIABLE: &str = "SEKALI_COMMIT";
/// As long as git shows them.
const SHOWN_LENGTH: usize = 7;

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the package's folder"));
    let version = env::var("CARGO_PKG_VERSION").expect("cargo names the package's version");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={VARIABLE}");
    for path in changes_with_the_commit(&root) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    let given = env::var(VARIABLE).ok().filter(|commit| !commit.is_empty());
    println!("cargo:rustc-env=SEKALI_VERSION={}", full_version(&version, given.or_else(|| commit(&root))));
}

/// `0.1.0 (abc1234)`, or the version alone.
pub fn full_version(version: &str, commit: Option<String>) -> String {
    match commit.as_deref().map(|commit| commit.get(..SHOWN_LENGTH).unwrap_or(commit)) {
        Some(shown) => format!("{version} ({shown})"),
        None => version.to_owned(),
    }
}

/// The commit of this repository; a repository around an unpacked archive knows nothing of its commit.
pub fn commit(root: &Path) -> Option<String> {
    root.join(".git").exists().then(|| git(root, &["rev-parse", "--verify", "HEAD"]))?
}

/// The files that a new commit changes. Cargo runs this script again at every build for a path that is not there, so
/// only those that are: a branch has no file of its own while it is packed, and gets one below `refs` by a commit.
pub fn changes_with_the_commit(root: &Path) -> Vec<PathBuf> {
    if !root.join(".git").exists() {
        return Vec::new();
    }
    let git_path = |name: &str| {
        let path = root.join(git(root, &["rev-parse", "--git-path", name])?);
        path.exists().then_some(path)
    };
    let branch_file = git(root, &["symbolic-ref", "--quiet", "HEAD"]).and_then(|branch| git_path(&branch));
    let mut paths = vec![git_path("HEAD")];
    match branch_file {
        Some(_) => paths.push(branch_file),
        None => paths.extend([git_path("packed-refs"), git_path("refs")]),
    }
    paths.into_iter().flatten().collect()
}

/// What git prints, where there is a git and it has an answer.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    // In a hook of another repository's commit the environment names that one.
    let mut command = Command::new("git");
    command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    let output = command.arg("-C").arg(root).args(arguments).output().ok()?;
    let printed = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| printed.trim().to_owned())
}

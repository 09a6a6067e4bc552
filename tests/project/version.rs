//! The build script: which commit it names, and what makes it look again.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

#[allow(dead_code, reason = "its main runs in the build only")]
#[path = "../../build.rs"]
mod build_script;

use build_script::{changes_with_the_commit, commit, full_version};

/// A repository with one commit on the branch `main`.
fn repository() -> TempDir {
    let folder = TempDir::new().unwrap();
    git(folder.path(), &["init", "--quiet", "--initial-branch=main"]);
    add_a_commit(folder.path());
    folder
}

fn add_a_commit(root: &Path) {
    let author =
        ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost", "-c", "commit.gpgSign=false"];
    git(
        root,
        &[&author[..], &["commit", "--quiet", "--allow-empty", "--no-verify", "--message=more"]].concat(),
    );
}

fn git(root: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    // In a hook the environment names the repository of the hook.
    for name in env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("GIT_"))
    {
        command.env_remove(name);
    }
    let output = command.arg("-C").arg(root).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Names and contents of all that the build script watches.
fn watched(root: &Path) -> Vec<(PathBuf, Option<String>)> {
    let paths = changes_with_the_commit(root).into_iter();
    paths.map(|path| (path.clone(), fs::read_to_string(path).ok())).collect()
}

#[test]
fn the_version_names_the_commit_as_git_shows_it() {
    let id = "0123456789abcdef0123456789abcdef01234567";
    assert_eq!(full_version("0.1.0", Some(id.to_owned())), "0.1.0 (0123456)");
    assert_eq!(full_version("0.1.0", Some("0123456".to_owned())), "0.1.0 (0123456)");
    assert_eq!(full_version("0.1.0", None), "0.1.0");
}

#[test]
fn a_new_commit_is_noticed() {
    let repository = repository();
    let root = repository.path();
    let (before, watched_before) = (commit(root), watched(root));
    assert_eq!(before, Some(git(root, &["rev-parse", "HEAD"])));
    add_a_commit(root);
    assert_ne!(commit(root), before);
    assert_ne!(watched(root), watched_before);
}

#[test]
fn a_new_commit_in_a_second_work_tree_is_noticed() {
    let (repository, beside) = (repository(), TempDir::new().unwrap());
    let tree = beside.path().join("tree");
    git(repository.path(), &["worktree", "add", "--quiet", "-b", "other", tree.to_str().unwrap()]);
    let watched_before = watched(&tree);
    add_a_commit(repository.path());
    assert_eq!(watched(&tree), watched_before);
    add_a_commit(&tree);
    assert_ne!(watched(&tree), watched_before);
    assert_eq!(commit(&tree), Some(git(&tree, &["rev-parse", "HEAD"])));
}

#[test]
fn nothing_is_watched_that_is_not_there() {
    let repository = repository();
    let root = repository.path();
    git(root, &["pack-refs", "--all"]);
    let paths = changes_with_the_commit(root);
    assert!(paths.contains(&root.join(".git/packed-refs")) && paths.contains(&root.join(".git/refs")));
    git(root, &["checkout", "--quiet", "--detach"]);
    for path in changes_with_the_commit(root) {
        assert!(path.exists(), "{}", path.display());
    }
    assert_eq!(commit(root), Some(git(root, &["rev-parse", "HEAD"])));
}

#[test]
fn a_folder_that_is_no_clone_has_no_commit_even_inside_of_one() {
    let repository = repository();
    let inside = repository.path().join("unpacked");
    fs::create_dir(&inside).unwrap();
    assert_eq!(commit(&inside), None);
    assert!(changes_with_the_commit(&inside).is_empty());
}

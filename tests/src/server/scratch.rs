//! Directories that belong to a running program, and the sweep of those whose program has died.

use super::{Error, process};
use std::{
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

const PREFIX: &str = "pool-scratch-";

/// A private directory, removed when dropped.
///
/// It holds a locked file while its owner lives. A lock tells better than a process number who is dead: numbers are reused, and
/// containers that share `/tmp` do not see each other's.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    user: Option<User>,
    _lock: File,
}

/// Whom a server runs as, when we are root and it refuses to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Scratch {
    /// Makes one for `account` (if we are root; else for ourselves), after sweeping what dead programs left.
    pub(super) fn new(account: &str) -> Result<Self, Error> {
        let root = root();
        sweep(&root);
        Self::new_in(&root, account)
    }

    fn new_in(root: &Path, account: &str) -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = loop {
            // Short: a Unix socket's path has at most 107 bytes.
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = root.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => break path,
                // A process of another container may have our number too.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::doing(format!("create {}", path.display()))(error)),
            }
        };
        // Locked before it has its name: a sweep that found it free would take its owner for dead.
        let unnamed = path.join("lock.new");
        let lock = File::create(&unnamed).map_err(Error::doing("create the lock"))?;
        lock.try_lock().map_err(|error| Error::new(format!("lock {}: {error}", path.display())))?;
        fs::rename(unnamed, path.join("lock")).map_err(Error::doing("name the lock"))?;
        let is_root = fs::metadata(&path).map_err(Error::doing("read the directory"))?.uid() == 0;
        let user = if is_root { Some(User::named(account)?) } else { None };
        if let Some(User { uid, gid }) = user {
            chown(&path, Some(uid), Some(gid)).map_err(Error::doing(format!("give {} away", path.display())))?;
        }
        Ok(Self { path, user, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn user(&self) -> Option<User> {
        self.user
    }

    /// Writes a file below the directory that nobody but the server may read.
    pub(super) fn write(&self, file: impl AsRef<Path>, contents: &str) -> Result<(), Error> {
        let path = self.path.join(file);
        let doing = || format!("write {}", path.display());
        fs::write(&path, contents).map_err(Error::doing(doing()))?;
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(Error::doing(doing()))?;
        match self.user {
            Some(User { uid, gid }) => chown(&path, Some(uid), Some(gid)).map_err(Error::doing(doing())),
            None => Ok(()),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What a server leaves behind may still write for a moment.
        process::wait_until(Duration::from_secs(5), || {
            let _ = fs::remove_dir_all(&self.path);
            !self.path.exists()
        });
    }
}

impl User {
    /// The account, or `nobody` where there is none.
    fn named(account: &str) -> Result<Self, Error> {
        let id = |what: &str, account: &str| -> Option<u32> {
            let output = Command::new("id").args([what, account]).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        [account, "nobody"]
            .into_iter()
            .find_map(|account| Some(Self { uid: id("-u", account)?, gid: id("-g", account)? }))
            .ok_or_else(|| Error::new(format!("we are root and there is neither an account `{account}` nor `nobody`")))
    }
}

/// `/tmp` rather than `TMPDIR`: another account must reach it, and the path of a socket must be short.
fn root() -> PathBuf {
    let tmp = Path::new("/tmp");
    if tmp.is_dir() { tmp.to_owned() } else { std::env::temp_dir() }
}

/// Ends the servers and removes the directories of programs that have died.
fn sweep(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_stale(&entry.path()) {
            process::end_server_of(&entry.path());
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_stale(path: &Path) -> bool {
    match File::open(path.join("lock")) {
        Ok(lock) => !matches!(lock.try_lock(), Err(TryLockError::WouldBlock | TryLockError::Error(_))),
        // Without a lock it is half made, or half removed: leave it a minute.
        Err(error) if error.kind() == ErrorKind::NotFound => fs::metadata(path)
            .and_then(|data| data.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > Duration::from_secs(60))),
        // Another account's.
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory in which the sweep may rage.
    fn playground() -> Scratch {
        Scratch::new("nobody").unwrap()
    }

    #[test]
    fn directory_of_a_living_owner_survives_the_sweep() {
        let root = playground();
        let living = Scratch::new_in(root.path(), "nobody").unwrap();
        sweep(root.path());
        assert!(living.path().is_dir());
    }

    #[test]
    fn directory_of_a_dead_owner_is_swept() {
        let root = playground();
        let left = root.path().join(format!("{PREFIX}1-0"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join("lock"), "").unwrap();
        sweep(root.path());
        assert!(!left.exists());
    }

    #[test]
    fn directory_without_a_lock_is_left_for_a_minute() {
        let root = playground();
        let young = root.path().join(format!("{PREFIX}1-0"));
        fs::create_dir(&young).unwrap();
        sweep(root.path());
        assert!(young.is_dir());
        let old = std::time::SystemTime::now() - Duration::from_secs(61);
        File::open(&young).unwrap().set_modified(old).unwrap();
        sweep(root.path());
        assert!(!young.exists());
    }

    #[test]
    fn other_directories_are_not_touched() {
        let root = playground();
        let other = root.path().join("pool-photos-1-0");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("lock"), "").unwrap();
        sweep(root.path());
        assert!(other.is_dir());
    }

    #[test]
    fn dropped_directory_is_removed() {
        let root = playground();
        let scratch = Scratch::new_in(root.path(), "nobody").unwrap();
        let path = scratch.path().to_owned();
        assert!(path.is_dir());
        drop(scratch);
        assert!(!path.exists());
    }
}

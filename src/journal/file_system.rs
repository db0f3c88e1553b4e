//! On which kind of file system a folder lies, for messages about what that cannot do. Must not
//! know what is kept there.

use std::path::{Path, PathBuf};

/// `nfs4, mounted at /data from server:/export`; None: this system does not say.
pub(super) fn describe(dir: &Path) -> Option<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    find(&table, &dir.canonicalize().ok()?)
}

/// The mount with the longest path above `dir`, and of equals the last: it hides the others.
fn find(table: &str, dir: &Path) -> Option<String> {
    let mounts = table.lines().filter_map(|line| {
        // Fields that may or may not be there end with a dash.
        let (before, after) = line.split_once(" - ")?;
        let at = PathBuf::from(unescaped(before.split(' ').nth(4)?));
        let mut after = after.split(' ');
        let kind = after.next()?;
        let from = unescaped(after.next()?);
        dir.starts_with(&at).then(|| {
            let text = format!("{kind}, mounted at {} from {from}", at.display());
            (at.components().count(), text)
        })
    });
    mounts.max_by_key(|(depth, _)| *depth).map(|(_, text)| text)
}

/// Blanks are written as `\040`.
fn unescaped(field: &str) -> String {
    field
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_above_a_folder_is_its_file_system() {
        let table = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                     90 22 0:50 / /data rw - nfs4 server:/export rw,vers=4.2\n\
                     91 90 0:51 / /data/my\\040disk rw - fuse.sshfs me@there: rw\n";
        let found = |dir: &str| find(table, Path::new(dir)).unwrap();
        assert_eq!(found("/datafile/run"), "ext4, mounted at / from /dev/sda1");
        assert_eq!(
            found("/data/runs/x"),
            "nfs4, mounted at /data from server:/export"
        );
        assert_eq!(
            found("/data/my disk/run"),
            "fuse.sshfs, mounted at /data/my disk from me@there:"
        );
    }
}

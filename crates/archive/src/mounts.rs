//! The file system of a directory, according to `/proc/self/mountinfo`, and whether locks taken there are
//! visible to other hosts.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Why a lock below `directory` is not visible to other hosts that have mounted the same files, as text;
/// `None` if it is, if no other host can mount them, and if it is unknown.
pub fn lock_is_local(directory: &Path) -> Option<String> {
    let real = directory.canonicalize().ok()?;
    let mounts = fs::read("/proc/self/mountinfo").ok()?;
    why_local(&mounts, &real)
}

fn why_local(mountinfo: &[u8], directory: &Path) -> Option<String> {
    let mounts = mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(Mount::parse);
    // Of several mounts on one directory the last one is visible.
    let mount = mounts
        .filter(|mount| directory.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count())?;
    let has = |option: &str| mount.options.split(',').any(|given| given == option);
    let option = ["nolock", "local_lock=all", "local_lock=flock"];
    let kind = mount.kind.as_str();
    let why = match kind {
        "nfs" | "nfs4" => option.into_iter().find(|option| has(option))?.to_owned(),
        "cifs" | "smb3" if has("nobrl") => "nobrl".to_owned(),
        "9p" | "virtiofs" => "its locks are local to the guest".to_owned(),
        _ if kind == "fuse" || kind.starts_with("fuse.") => {
            "its locks may not reach other hosts".to_owned()
        }
        _ => return None,
    };
    let point = mount.point.display();
    Some(format!("\"{point}\" is mounted as {kind} ({why})"))
}

struct Mount {
    point: PathBuf,
    kind: String,
    /// The options of the mount and those of the file system.
    options: String,
}

impl Mount {
    /// A line as proc(5) describes it: id, parent, device, root, mount point, options, optional fields, a
    /// hyphen, type, source, options of the file system.
    fn parse(line: &[u8]) -> Option<Mount> {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let hyphen = fields.iter().position(|field| *field == b"-")?;
        let text = |place: usize| Some(String::from_utf8_lossy(fields.get(place)?).into_owned());
        Some(Mount {
            point: PathBuf::from(std::ffi::OsString::from_vec(unescape(fields.get(4)?))),
            kind: text(hyphen + 1)?,
            options: format!("{},{}", text(5)?, text(hyphen + 3)?),
        })
    }
}

/// Blanks, tabs, line feeds and backslashes are written there as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /backup rw,relatime - nfs4 nas:/backup rw,vers=4.2,local_lock=none
31 22 0:41 / /old rw - nfs nas:/old rw,vers=3,nolock,local_lock=all
32 22 0:42 / /bucket rw - fuse.s3fs s3fs rw,user_id=0
33 30 8:2 / /backup/with\\040blank rw - nfs nas:/b rw,vers=3,local_lock=flock
34 22 8:3 / /windows rw - fuseblk /dev/sdb1 rw
";

    fn why(directory: &str) -> Option<String> {
        why_local(MOUNTS, Path::new(directory))
    }

    #[test]
    fn locks_that_end_at_this_host_are_told_with_the_reason() {
        assert_eq!(
            why("/old/archive").unwrap(),
            "\"/old\" is mounted as nfs (nolock)"
        );
        assert_eq!(
            why("/backup/with blank/x").unwrap(),
            "\"/backup/with blank\" is mounted as nfs (local_lock=flock)"
        );
        assert!(why("/bucket/archive").unwrap().contains("fuse.s3fs"));
    }

    #[test]
    fn locks_that_others_see_or_nobody_else_needs_are_no_news() {
        for directory in ["/var/backups", "/backup/archive", "/windows/archive", "/"] {
            assert_eq!(why(directory), None, "{directory}");
        }
    }

    #[test]
    fn this_machines_own_table_can_be_read() {
        let table = fs::read("/proc/self/mountinfo").unwrap();
        let mounts = table.split(|byte| *byte == b'\n').filter_map(Mount::parse);
        assert!(mounts.count() > 0);
    }
}

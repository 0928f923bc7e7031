//! What another major version makes of an archive.

/// Of `server_version_num`.
fn major(version: u32) -> u32 {
    version / 10_000
}

/// Whether they are of different major versions.
pub fn differ(source: u32, target: u32) -> bool {
    major(source) != major(target)
}

/// What is to be told before anything is made: the source's version, and the target's.
pub fn warnings(source: u32, target: u32) -> Vec<String> {
    let (source, target) = (major(source), major(target));
    if source <= target {
        return Vec::new();
    }
    vec![format!(
        "the source is PostgreSQL {source}, the target the older PostgreSQL {target}: what that does not know is left out"
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_older_target_is_warned_of() {
        assert!(warnings(150_018, 180_006).is_empty());
        assert!(warnings(150_018, 150_002).is_empty());
        assert_eq!(warnings(180_001, 150_018).len(), 1);
    }
}

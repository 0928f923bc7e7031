//! `~/.pgpass`: a line for each password, `host:port:database:user:password`.
//!
//! As PostgreSQL's documentation, "The Password File", and `passwordFromFile` of libpq: `*` matches anything, `\` stands
//! before a `:` or `\` that is meant literally, and a file that others can read is not used.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whose password.
pub struct Wanted<'a> {
    /// The name of the host; `localhost` for the default directory of the socket.
    pub host: &'a str,
    pub port: &'a str,
    pub database: &'a str,
    pub user: &'a str,
}

/// The password of the first line that matches. A file that is not used is an error, in libpq's words; one that does not
/// exist has no passwords.
pub fn look_up(path: &Path, wanted: &Wanted) -> Result<Option<String>, String> {
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(None);
    };
    let shown = path.display();
    if !metadata.is_file() {
        return Err(format!("password file \"{shown}\" is not a plain file"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(format!(
            "password file \"{shown}\" has group or world access; permissions should be u=rw (0600) or less"
        ));
    }
    let text = fs::read(path).map_err(|error| format!("password file \"{shown}\": {error}"))?;
    Ok(password_in(&String::from_utf8_lossy(&text), wanted))
}

fn password_in(text: &str, wanted: &Wanted) -> Option<String> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.find_map(|line| {
        let mut rest = line;
        for field in [wanted.host, wanted.port, wanted.database, wanted.user] {
            rest = after_field(rest, field)?;
        }
        Some(unescaped(rest))
    })
}

/// What follows a field, if it matches.
fn after_field<'a>(line: &'a str, wanted: &str) -> Option<&'a str> {
    if let Some(rest) = line.strip_prefix("*:") {
        return Some(rest);
    }
    let mut is_literal = false;
    let end = line.find(|character| {
        let ends = character == ':' && !is_literal;
        is_literal = character == '\\' && !is_literal;
        ends
    })?;
    (unescaped(&line[..end]) == wanted).then(|| &line[end + 1..])
}

fn unescaped(text: &str) -> String {
    let mut characters = text.chars();
    let mut plain = String::new();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const SHOP: Wanted = Wanted {
        host: "db.example.com",
        port: "5432",
        database: "shop",
        user: "bob",
    };

    #[test]
    fn the_first_line_that_matches_counts() {
        let text = "# db.example.com:5432:shop:bob:comment\n\
            db.example.com:5433:shop:bob:other port\n*:*:shop:bob:here\n*:*:*:*:later\n";
        assert_eq!(password_in(text, &SHOP).as_deref(), Some("here"));
        assert_eq!(password_in("db.example.com:5432:shop:alice:x", &SHOP), None);
        assert_eq!(password_in("db.example.com:5432:sho:bob:x", &SHOP), None);
        assert_eq!(password_in("garbage", &SHOP), None);
    }

    #[test]
    fn colons_and_backslashes_are_literal_after_a_backslash() {
        let odd = Wanted {
            host: "::1",
            user: "a\\b",
            ..SHOP
        };
        let text = "\\:\\:1:5432:*:a\\\\b:p\\:w\\\\d:x";
        assert_eq!(password_in(text, &odd).as_deref(), Some("p:w\\d:x"));
    }

    #[test]
    fn a_file_that_others_can_read_is_not_used() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(".pgpass");
        assert_eq!(look_up(&path, &SHOP), Ok(None));
        fs::write(&path, "*:*:*:*:secret\n").expect("writable");
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode));
        set(0o600).expect("ours");
        assert_eq!(look_up(&path, &SHOP), Ok(Some("secret".to_owned())));
        set(0o640).expect("ours");
        let refused = look_up(&path, &SHOP).expect_err("others can read it");
        assert!(refused.contains("group or world access"), "{refused}");
    }
}

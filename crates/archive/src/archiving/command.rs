//! A command with `%p` and `%f`, as in PostgreSQL's archive_command.

/// True if every percent sign is followed by `p`, `f` or another one.
pub fn is_command(text: &[u8]) -> bool {
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        if *byte == b'%' && !matches!(rest.next(), Some(b'p' | b'f' | b'%')) {
            return false;
        }
    }
    true
}

/// Substitutes path and name. Their contents are not expanded again.
pub fn expand(command: &[u8], path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut expanded = Vec::with_capacity(command.len() + path.len() + name.len());
    let mut rest = command.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            expanded.push(*byte);
            continue;
        }
        match rest.next() {
            Some(b'p') => expanded.extend_from_slice(path),
            Some(b'f') => expanded.extend_from_slice(name),
            _ => expanded.push(b'%'),
        }
    }
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_name_are_put_in_once() {
        let expanded = expand(b"date +%%F; cp %p /x/%f%%", b"/a/%f", b"b%20c/d");
        assert_eq!(expanded, b"date +%F; cp /a/%f /x/b%20c/d%");
    }

    #[test]
    fn a_lone_percent_sign_is_no_command() {
        for text in ["cp %x", "cp %", "%%%", "% p"] {
            assert!(!is_command(text.as_bytes()), "{text}");
        }
        for text in ["", "cp %p %f", "%%", "%%p"] {
            assert!(is_command(text.as_bytes()), "{text}");
        }
    }
}

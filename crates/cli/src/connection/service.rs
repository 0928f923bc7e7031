//! Connection services: a section of `pg_service.conf` (PostgreSQL's documentation, "The Connection Service File").

use std::path::{Path, PathBuf};

use super::conninfo::Pairs;

/// The parameters of a service, from the first of these files that has it. Errors are in libpq's words.
pub fn look_up(name: &str, files: &[PathBuf]) -> Result<Pairs, String> {
    for file in files {
        let Ok(text) = std::fs::read_to_string(file) else {
            continue;
        };
        if let Some(pairs) = section(name, &text, file)? {
            return Ok(pairs);
        }
    }
    Err(format!("definition of service \"{name}\" not found"))
}

fn section(name: &str, text: &str, file: &Path) -> Result<Option<Pairs>, String> {
    let mut pairs = None::<Pairs>;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            if pairs.is_some() {
                break;
            }
            if section.strip_suffix(']') == Some(name) {
                pairs = Some(Pairs::new());
            }
            continue;
        }
        if let Some(pairs) = &mut pairs {
            let (key, value) = line.split_once('=').ok_or_else(|| {
                let shown = file.display();
                format!(
                    "syntax error in service file \"{shown}\", line {}",
                    number + 1
                )
            })?;
            pairs.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_a_section() {
        let text =
            "# comment\n[other]\nhost=x\n[mydb]\nhost=somehost\nport=5433\n\n[last]\nuser=u\n";
        let file = Path::new("pg_service.conf");
        let found = section("mydb", text, file).expect("well-formed");
        let expected = [("host", "somehost"), ("port", "5433")];
        assert_eq!(
            found,
            Some(expected.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec())
        );
        assert_eq!(section("none", text, file), Ok(None));
        assert!(section("x", "[x]\nnonsense\n", file).is_err());
        assert!(look_up("x", &[]).is_err());
    }
}

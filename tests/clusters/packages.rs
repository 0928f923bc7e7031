//! "It is not where packages put things." Names, paths, versions and dependencies of the packages, packed around small
//! files that stand in for the library and the program: building those takes minutes, and `make packages-test` does.

use harness::{program_directory, run, skipped, Installation};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn checkout() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("it is in the checkout").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn output(command: &mut Command) -> String {
    String::from_utf8(run(command).stdout).expect("it is text")
}

/// A script of packaging/, which works below `target`.
fn script(target: &Path, name: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg(checkout().join("packaging").join(name));
    command.env("CARGO_TARGET_DIR", target);
    command.env_remove("PACKAGES").env_remove("COMMIT");
    command
}

/// What building leaves in the stage, with stand-ins for what is compiled.
fn stage(target: &Path) {
    let stage = target.join("packaging/stage");
    let program = stage.join("program");
    for directory in ["man", "completions"] {
        fs::create_dir_all(program.join(directory)).expect("it can be made");
    }
    fs::copy("/bin/true", program.join("pg_incrbackup")).expect("it can be copied");
    let own = program_directory().join("pg_incrbackup");
    run(Command::new(&own).arg("man").arg(program.join("man")));
    for shell in ["bash", "zsh", "fish"] {
        let text = output(Command::new(&own).args(["completions", shell]));
        fs::write(program.join("completions").join(shell), text).expect("it can be written");
    }
    for major in ["15", "18"] {
        let made = stage.join(format!("extension-{major}"));
        fs::create_dir_all(made.join("lib")).expect("it can be made");
        fs::create_dir_all(made.join("extension")).expect("it can be made");
        fs::copy("/bin/true", made.join("lib/pg_incrbackup.so")).expect("it can be copied");
        for name in ["pg_incrbackup.control", "pg_incrbackup--0.1.0--0.2.0.sql"] {
            fs::write(made.join("extension").join(name), "-- here\n").expect("it can be written");
        }
    }
}

#[test]
fn the_version_stands_in_one_place() {
    let crates = entries(&checkout().join("crates"));
    assert!(crates.len() > 3, "{crates:?}");
    for directory in crates
        .into_iter()
        .chain([checkout(), checkout().join("tests")])
    {
        let manifest = directory.join("Cargo.toml");
        assert!(
            read(&manifest).contains("\nversion.workspace = true"),
            "{} has a version of its own",
            manifest.display()
        );
    }
    let control = read(&checkout().join("pg_incrbackup.control"));
    assert!(control.contains("default_version = '@CARGO_VERSION@'"));
    let mut directories = vec![checkout().join("packaging"), checkout().join("containers")];
    let mut files = 0;
    while let Some(directory) = directories.pop() {
        for path in entries(&directory) {
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            files += 1;
            assert!(
                !read(&path).contains(env!("CARGO_PKG_VERSION")),
                "{} says the version",
                path.display()
            );
        }
    }
    assert!(files > 20, "{files} files are not all");
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    entries
        .map(|entry| entry.expect("it can be read").path())
        .collect()
}

/// Packages are made of a commit: where git does not read the checkout (the source archive, the checkout of somebody
/// else), there are none.
fn has_commits() -> bool {
    let mut git = Command::new("git");
    git.arg("-C").arg(checkout()).args(["rev-parse", "HEAD"]);
    let has = git.output().is_ok_and(|output| output.status.success());
    if !has {
        skipped("packages (git does not read this checkout)");
    }
    has
}

#[test]
fn the_source_archive_is_one_of_pgxn() {
    if !has_commits() {
        return;
    }
    let target = tempfile::tempdir().expect("there is room");
    run(&mut script(target.path(), "source.sh"));
    let root = target.path().join("packaging/source");
    let meta = read(&root.join("META.json"));
    let meta: serde_json::Value = serde_json::from_str(&meta).expect("it is JSON");
    for key in [
        "name",
        "version",
        "abstract",
        "maintainer",
        "license",
        "provides",
        "meta-spec",
    ] {
        assert!(!meta[key].is_null(), "PGXN requires {key}");
    }
    let manifest = read(&root.join("Cargo.toml"));
    let version = meta["version"].as_str().expect("it is text");
    assert!(
        manifest.contains(&format!("\nversion = \"{version}\"\n")),
        "that of the commit"
    );
    assert_eq!(version.split('.').count(), 3, "a semantic version");
    assert_eq!(meta["meta-spec"]["version"], "1.0.0");
    let provides = &meta["provides"]["pg_incrbackup"];
    assert_eq!(provides["version"], version);
    for key in ["file", "docfile"] {
        let file = provides[key].as_str().expect("it is text");
        assert!(root.join(file).is_file(), "there is no {file}");
    }
    let packages = target.path().join("packages");
    // Somebody else's settings of git are not in it.
    let again = tempfile::tempdir().expect("there is room");
    let mut command = script(again.path(), "source.sh");
    command.env("GIT_CONFIG_COUNT", "1");
    command.env("GIT_CONFIG_KEY_0", "tar.umask");
    command.env("GIT_CONFIG_VALUE_0", "0077");
    run(&mut command);
    for ending in ["zip", "tar.gz"] {
        let file = format!("pg_incrbackup-{version}.{ending}");
        let first = fs::read(packages.join(&file)).expect("it is there");
        let second = fs::read(again.path().join("packages").join(&file));
        assert!(
            first == second.expect("it is there"),
            "{file} depends on settings of git"
        );
    }
}

#[test]
fn debian_packages_have_debians_names_paths_and_dependencies() {
    if Command::new("dpkg-shlibdeps")
        .arg("--version")
        .output()
        .is_err()
    {
        skipped("Debian packages (no dpkg-dev)");
        return;
    }
    if !has_commits() {
        return;
    }
    let target = tempfile::tempdir().expect("there is room");
    run(&mut script(target.path(), "source.sh"));
    stage(target.path());
    let packages = target.path().join("packages");
    let made = || {
        run(script(target.path(), "deb.sh").args(["15", "18"]));
        let debs = fs::read_dir(&packages).expect("it is there");
        let debs = debs.map(|file| file.expect("it can be read").path());
        let mut debs: Vec<PathBuf> = debs
            .filter(|path| path.extension().is_some_and(|e| e == "deb"))
            .collect();
        debs.sort();
        debs
    };
    let debs = made();
    let bytes: Vec<Vec<u8>> = debs
        .iter()
        .map(|deb| fs::read(deb).expect("it is there"))
        .collect();
    for deb in made() {
        let before = debs.iter().position(|one| *one == deb).expect("the same");
        assert!(
            fs::read(&deb).expect("it is there") == bytes[before],
            "packed again, {} differs",
            deb.display()
        );
    }

    let [program, of_15, of_18] = &debs[..] else {
        panic!("{debs:?}");
    };
    let field = |deb: &Path, name: &str| {
        output(Command::new("dpkg-deb").arg("-f").arg(deb).arg(name))
            .trim()
            .to_owned()
    };
    let manifest = read(&target.path().join("packaging/source/Cargo.toml"));
    let version = field(program, "Version");
    let upstream = version.strip_suffix("-1").expect("the first revision");
    assert!(manifest.contains(&format!("\nversion = \"{}\"\n", upstream.replace('~', "-"))));
    assert_eq!(field(program, "Package"), "pg-incrbackup");
    assert!(field(program, "Depends").starts_with("libc6 (>= "));
    for (deb, major) in [(of_15, 15), (of_18, 18)] {
        assert_eq!(
            field(deb, "Package"),
            format!("postgresql-{major}-pg-incrbackup")
        );
        assert_eq!(field(deb, "Version"), version);
        let depends = field(deb, "Depends");
        let first = format!("postgresql-{major}, ");
        assert!(depends.starts_with(&first), "{depends}");
        assert!(
            depends.ends_with(&format!("pg-incrbackup (>= {version})")),
            "{depends}"
        );
        let contents = output(Command::new("dpkg-deb").arg("-c").arg(deb));
        for line in contents.lines() {
            assert!(line.contains(" root/root "), "{line}");
        }
        for file in [
            format!("-rw-r--r--|./usr/lib/postgresql/{major}/lib/pg_incrbackup.so"),
            format!("lrwxrwxrwx|./usr/lib/postgresql/{major}/bin/pg_incrbackup -> ../../../../bin/pg_incrbackup"),
            format!("-rw-r--r--|./usr/share/postgresql/{major}/extension/pg_incrbackup.control"),
            format!("-rw-r--r--|./usr/share/doc/postgresql-{major}-pg-incrbackup/copyright"),
            format!("-rw-r--r--|./usr/share/doc/postgresql-{major}-pg-incrbackup/changelog.Debian.gz"),
        ] {
            assert_has(&contents, &file);
        }
    }
    let contents = output(Command::new("dpkg-deb").arg("-c").arg(program));
    for file in [
        "-rwxr-xr-x|./usr/bin/pg_incrbackup",
        "-rw-r--r--|./usr/share/man/man1/pg_incrbackup.1.gz",
        "-rw-r--r--|./usr/share/man/man1/pg_incrbackup-restore.1.gz",
        "-rw-r--r--|./usr/share/bash-completion/completions/pg_incrbackup",
        "-rw-r--r--|./usr/share/zsh/vendor-completions/_pg_incrbackup",
        "-rw-r--r--|./usr/share/fish/vendor_completions.d/pg_incrbackup.fish",
        "-rw-r--r--|./usr/share/doc/pg-incrbackup/docs/install.md",
        "-rwxr-xr-x|./usr/share/doc/pg-incrbackup/monitoring/check_pg_incrbackup",
    ] {
        assert_has(&contents, file);
    }
}

/// `mode|path`, as a line of `dpkg-deb -c` has them at its ends.
fn assert_has(contents: &str, file: &str) {
    let (mode, path) = file.split_once('|').expect("it has both");
    let is_there = |line: &str| line.starts_with(mode) && line.ends_with(&format!(" {path}"));
    assert!(
        contents.lines().any(is_there),
        "{mode} {path} is not in\n{contents}"
    );
}

/// "It has tested what lay there", "it has removed my directory".
#[test]
fn packages_of_another_commit_and_files_of_others_are_refused() {
    if !has_commits() {
        return;
    }
    let target = tempfile::tempdir().expect("there is room");
    let packages = target.path().join("packages");
    fs::create_dir(&packages).expect("it can be made");
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => panic!("packages of {other} have no name here"),
    };
    let sums = packages.join("SHA256SUMS");
    fs::write(&sums, "").expect("it can be written");
    let info = packages.join(format!("build-info-{architecture}"));
    fs::write(&info, "commit: 0123456789\n").expect("it can be written");
    let refused = |command: &mut Command, why: &str| {
        let output = command.output().expect("sh is there");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{said}");
    };
    refused(
        script(target.path(), "reproduce.sh").arg("15"),
        "those of commit 0123456789",
    );

    let mut other_rust = script(target.path(), "packages.sh");
    other_rust.arg("15").env("RUST_VERSION", "1.0.0");
    refused(&mut other_rust, "packages are made with Rust 1.0.0");
    let own = packages.join("thesis.txt");
    fs::write(&own, "mine").expect("it can be written");
    let found = output(Command::new("rustc").arg("--version"));
    let found = found.split(' ').nth(1).expect("rustc says its version");
    let mut over_it = script(target.path(), "packages.sh");
    over_it.arg("15").env("RUST_VERSION", found);
    refused(&mut over_it, "thesis.txt");
    assert!(own.is_file() && sums.is_file() && info.is_file());
}

/// Stands for cargo, with which building takes minutes: what it leaves is as small as can be.
const CARGO: &str = r#"#!/bin/sh
set -eu
echo "$@" >>"$CARGO_TARGET_DIR/built"
case "$1 $2" in
    "pgrx --version") echo cargo-pgrx 0.18.1 ;;
    "pgrx package")
        while [ "$1" != --out-dir ]; do shift; done
        mkdir -p "$2/lib" "$2/share/extension"
        echo library >"$2/lib/pg_incrbackup.so"
        echo control >"$2/share/extension/pg_incrbackup.control"
        ;;
    "build --quiet")
        mkdir -p "$CARGO_TARGET_DIR/release"
        cp "$(dirname "$0")/program" "$CARGO_TARGET_DIR/release/pg_incrbackup"
        ;;
esac
"#;

/// "permission denied, after minutes", "sudo: cargo: command not found".
#[test]
fn what_one_user_has_built_another_installs_without_rust() {
    let work = tempfile::tempdir().expect("there is room");
    let (bin, target) = (work.path().join("bin"), work.path().join("target"));
    for directory in [&bin, &target] {
        fs::create_dir(directory).expect("it can be made");
    }
    let program = "#!/bin/sh\n[ $1 != man ] || echo page >\"$2/pg_incrbackup.1\"\n";
    for (name, text) in [("cargo", CARGO), ("program", program)] {
        fs::write(bin.join(name), text).expect("it can be written");
        run(Command::new("chmod").arg("755").arg(bin.join(name)));
    }
    let pg_config = Installation::under_test().bin().join("pg_config");
    let root = work.path().join("root");
    let make_below = |root: &Path, goal: &str, path: &str| {
        let mut command = Command::new("make");
        command
            .arg("-C")
            .arg(checkout())
            .arg("--no-print-directory");
        command.arg(goal);
        command.arg(format!("PG_CONFIG={}", pg_config.display()));
        command.arg(format!("DESTDIR={}", root.display()));
        command.env("PATH", path).env("CARGO_TARGET_DIR", &target);
        command.output().expect("make is there")
    };
    let make = |goal: &str, path: &str| make_below(&root, goal, path);
    let with_rust = format!("{}:/usr/bin:/bin", bin.display());
    let without = "/usr/bin:/bin";
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();

    let refused = make("install", without);
    assert!(!refused.status.success());
    assert!(
        said(&refused).contains("has no cargo"),
        "{}",
        said(&refused)
    );
    let built = make("all", &with_rust);
    assert!(built.status.success(), "{}", said(&built));
    assert!(!root.exists(), "make has installed something");
    let installed = make("install", without);
    assert!(installed.status.success(), "{}", said(&installed));
    let directory = |which: &str| {
        let directory = output(Command::new(&pg_config).arg(which));
        root.join(directory.trim().trim_start_matches('/'))
    };
    assert!(directory("--bindir").join("pg_incrbackup").is_file());
    assert!(directory("--pkglibdir").join("pg_incrbackup.so").is_file());
    let control = "extension/pg_incrbackup.control";
    assert!(directory("--sharedir").join(control).is_file());

    // Sources that are newer than what is built.
    let is_marker = |path: &PathBuf| path.join("built").is_file();
    let built = entries(&target.join("install")).into_iter().find(is_marker);
    let built = built.expect("make says what it has built").join("built");
    let age = || run(Command::new("touch").args(["-d", "2020-01-01"]).arg(&built));
    age();
    assert!(!make("install", without).status.success());
    assert!(make("install", &with_rust).status.success());

    // Nothing is built for a place that may not be written, as root neither: it is below a file.
    age();
    let calls = read(&target.join("built"));
    let refused = make_below(&bin.join("program"), "install", &with_rust);
    assert!(
        said(&refused).contains("may not write"),
        "{}",
        said(&refused)
    );
    assert_eq!(read(&target.join("built")), calls, "something was built");
}

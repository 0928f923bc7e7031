use harness::Cluster;

fn segments(c: &Cluster) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(c.chain_directory().join("incremental"))
        .expect("there")
        .flatten()
    {
        text.push_str(&String::from_utf8_lossy(
            &std::fs::read(entry.path()).expect("readable"),
        ));
    }
    text
}

/// A case that is bash: `$DB`, `$HB_DIR`, `sql` and `as_pg` are there.
fn run_shell(c: &Cluster, text: &[u8]) {
    let prelude = format!(
        "export PGHOST={0} PGPORT=$(ls -A {0} | sed -n 's/^\\.s\\.PGSQL\\.\\([0-9]*\\)$/\\1/p') PGUSER=postgres\n\
         DB=app; HB_DIR={0}/hb; mkdir -p $HB_DIR\n\
         as_pg() {{ \"$@\"; }}\nsql() {{ d=$1; shift; psql -X -Atq -d \"$d\" \"$@\"; }}\n",
        c.root().display()
    );
    let script = [prelude.as_bytes(), text].concat();
    let script = String::from_utf8(script).expect("text");
    let output = c
        .installation()
        .command("bash")
        .args(["-c", &script])
        .output();
    let output = output.expect("bash");
    println!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn scratch_file() {
    let Ok(path) = std::env::var("SCRATCH_SQL") else {
        return;
    };
    for path in path.split(' ') {
        let c = Cluster::backed_up();
        let text = std::fs::read(path).expect("there");
        if path.ends_with(".sh") {
            run_shell(&c, &text);
        } else {
            c.psql_bytes("app", &text);
        }
        c.sql("SELECT incr_flush()");
        let r = c.try_restore(&c, "back", &[]);
        let name = path.rsplit('/').next().unwrap_or_default();
        match r {
            Ok(_) => {
                let d = harness::differences((&c, "app"), (&c, "back"));
                println!(
                    "CASE {name}: {} lines; health {}",
                    d.len(),
                    c.health().lines().next().unwrap_or_default()
                );
                if !d.is_empty() {
                    for line in d.iter().take(10) {
                        println!("    {line:?}");
                    }
                }
            }
            Err(e) => println!(
                "CASE {name}: FAILED {}",
                format!("{e:?}").chars().take(600).collect::<String>()
            ),
        }
        if std::env::var("SHOW").is_ok() {
            println!("{}", segments(&c));
        }
        for line in segments(&c)
            .lines()
            .filter(|l| l.contains(" unhandled ") || l.contains(" flag "))
        {
            println!("    {}", &line[..line.len().min(200)]);
        }
    }
}

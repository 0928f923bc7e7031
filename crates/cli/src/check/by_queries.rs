//! The list by queries: with or without the extension.

use prerequisites::{list, Answer, Facts, Question, Remedy, Row, Who, QUESTIONS, WHO};
use tokio_postgres::types::Type;
use tokio_postgres::Client;

use crate::error::Result;

pub async fn who(client: &Client) -> Result<Who> {
    Ok(Who::new(&ask(client, &WHO).await?))
}

pub async fn rows(client: &Client, who: Who) -> Result<Vec<Row>> {
    let mut answers: [Answer; QUESTIONS.len()] = Default::default();
    for (question, answer) in QUESTIONS.iter().zip(&mut answers) {
        if (question.may_ask)(&who) {
            *answer = ask(client, question).await?;
        }
    }
    let facts = Facts::new(who, answers);
    let mut machine: Vec<Row> = directory_on_disk(client, &facts)
        .await?
        .into_iter()
        .collect();
    machine.push(Row::note(
        "pg_dump",
        "only the server's machine shows it, and the file system of the archive: SELECT * FROM incr_check() in the database",
    ));
    Ok(list(&facts, machine))
}

async fn ask(client: &Client, question: &Question) -> Result<Answer> {
    let rows = client.query_typed(question.sql, &[]).await?;
    let values = |row: &tokio_postgres::Row| {
        (0..question.columns)
            .map(|column| row.get::<_, Option<String>>(column))
            .collect()
    };
    Ok(rows.iter().map(values).collect())
}

/// What is at `pg_incrbackup.directory`, where the role may look.
async fn directory_on_disk(client: &Client, facts: &Facts) -> Result<Option<Row>> {
    const NAME: &str = "archive on disk";
    let Some(directory) = facts
        .get("pg_incrbackup.directory")
        .filter(|path| path.starts_with('/'))
    else {
        return Ok(None);
    };
    let may = "SELECT has_function_privilege('pg_stat_file(text, boolean)', 'EXECUTE')";
    if !client.query_typed(may, &[]).await?[0].get::<_, bool>(0) {
        return Ok(Some(Row::ok(NAME, "only a superuser sees it")));
    }
    let looked = client
        .query_typed(
            "SELECT isdir FROM pg_stat_file($1, true)",
            &[(&directory, Type::TEXT)],
        )
        .await;
    let row = match looked {
        Err(error) => Row::warning(
            NAME,
            error
                .as_db_error()
                .map_or_else(|| error.to_string(), |error| error.message().to_owned()),
            Remedy::Do("The server's operating system user must be able to enter it.".to_owned()),
        ),
        Ok(rows) => match rows.first().and_then(|row| row.get::<_, Option<bool>>(0)) {
            Some(true) => Row::ok(NAME, "it is a directory"),
            Some(false) => Row::missing(
                NAME,
                format!("{directory} is not a directory"),
                Remedy::Do("Set pg_incrbackup.directory to one.".to_owned()),
            ),
            None => Row::ok(NAME, "it does not exist yet, and will be created"),
        },
    };
    Ok(Some(row))
}

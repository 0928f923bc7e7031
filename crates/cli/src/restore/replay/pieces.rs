//! A statement so long that it is sent in pieces, which the server joins and executes: as one message it would be in memory
//! here three times.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

/// A statement of this length is worth it, in bytes.
pub const LONG: usize = 8 << 20;
const PIECE: usize = 256 << 10;

/// As in PostgreSQL's documentation of COPY, "Binary Format": the signature, flags, and no extension.
const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Pieces are bytes: a character may be cut. What is executed has the session's settings.
const PREPARE: &str = "CREATE TEMP TABLE IF NOT EXISTS incr_pieces (number integer, piece bytea); \
    ALTER TABLE pg_temp.incr_pieces ALTER piece SET STORAGE EXTERNAL; \
    CREATE OR REPLACE FUNCTION pg_temp.incr_execute_pieces() RETURNS pg_catalog.int8 LANGUAGE plpgsql AS $$ \
    DECLARE hit pg_catalog.int8; \
    BEGIN \
        EXECUTE pg_catalog.convert_from((SELECT pg_catalog.string_agg(piece, '' ORDER BY number) FROM pg_temp.incr_pieces), \
            pg_catalog.current_setting('client_encoding')); \
        GET DIAGNOSTICS hit = ROW_COUNT; \
        RETURN hit; \
    END $$";

/// Whether a statement is sent in pieces: one that changes a row.
pub fn is_worth_it(text: &[u8]) -> bool {
    text.len() >= LONG && (text.starts_with(b"UPDATE ") || text.starts_with(b"DELETE "))
}

/// Executes the statement; how many rows it has hit.
pub async fn execute(client: &Client, text: &[u8]) -> Result<u64, Error> {
    client.batch_execute(PREPARE).await?;
    let copy = "COPY pg_temp.incr_pieces FROM STDIN (FORMAT binary)";
    let sink = client.copy_in::<_, Bytes>(copy).await?;
    let mut sink = std::pin::pin!(sink);
    let mut out = BytesMut::from(HEAD);
    for (number, piece) in (0i32..).zip(text.chunks(PIECE)) {
        out.put_i16(2);
        out.put_i32(4);
        out.put_i32(number);
        out.put_i32(i32::try_from(piece.len()).unwrap_or(i32::MAX));
        out.put_slice(piece);
        sink.send(out.split().freeze()).await?;
    }
    out.put_i16(-1);
    sink.send(out.freeze()).await?;
    sink.finish().await?;
    let call = "SELECT pg_temp.incr_execute_pieces()";
    let hit = client
        .query_typed(
            call,
            &[] as &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)],
        )
        .await?;
    client.batch_execute("TRUNCATE pg_temp.incr_pieces").await?;
    Ok(u64::try_from(hit[0].get::<_, i64>(0)).unwrap_or(0))
}

//! stub until BACKUP's lands
use pgrx::prelude::*;
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub oid: pg_sys::Oid,
    pub schema: Vec<u8>,
    pub name: Vec<u8>,
    pub value: i64,
    pub is_called: bool,
}
#[derive(Clone, Copy)]
pub enum Positions {
    Safe,
    Exact,
}
pub fn positions(_which: Positions) -> Result<Vec<Position>, pgrx::spi::Error> {
    Ok(vec![])
}
pub fn guarded_setval_sql(p: &Position) -> Vec<u8> {
    crate::pg::moved_sequences::guarded_setval(
        &(p.schema.clone(), p.name.clone()),
        p.value,
        p.is_called,
    )
}

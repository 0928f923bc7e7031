/*
 * An output plugin that writes the lines which decoder_raw is documented to write, its defects
 * included, so that the capture of another plugin's SQL is tested wherever these tests run.
 *
 *   BEGIN;
 *   INSERT INTO public.a (id, x) VALUES (1, 2);
 *   UPDATE public.a SET id = 1, x = 10 WHERE id = 1;
 *   DELETE FROM public.a WHERE id = 1;
 *   TRUNCATE public.a, public.b RESTART IDENTITY CASCADE;
 *   COMMIT;
 *
 * The defects: transactions without a change are written, and rows of materialized views; nothing for
 * an UPDATE or DELETE of a table without a replica identity; generated columns like any other, and no
 * OVERRIDING SYSTEM VALUE; `a = null` and `=` on types that have no equality; an empty SET where all
 * values were left in their TOAST; quotes are doubled in a literal, and line ends left as they are.
 *
 * The harness builds it into a test's PostgreSQL under the name decoder_raw.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "replication/logical.h"
#include "replication/output_plugin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *callbacks);

#if PG_VERSION_NUM >= 170000
#define TUPLE(buffer) (buffer)
#else
#define TUPLE(buffer) ((buffer) ? &(buffer)->tuple : NULL)
#endif

typedef struct Settings
{
	bool		with_transactions;
	MemoryContext row;			/* emptied after each change */
} Settings;

static void
startup(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init)
{
	Settings   *settings = palloc0(sizeof(Settings));
	ListCell   *cell;

	settings->row = AllocSetContextCreate(ctx->context, "a row as SQL", ALLOCSET_DEFAULT_SIZES);
	ctx->output_plugin_private = settings;
	options->output_type = OUTPUT_PLUGIN_TEXTUAL_OUTPUT;
	foreach(cell, ctx->output_plugin_options)
	{
		DefElem    *option = lfirst(cell);
		char	   *value = option->arg ? strVal(option->arg) : NULL;

		if (strcmp(option->defname, "include_transaction") == 0)
		{
			settings->with_transactions = true;
			if (value && !parse_bool(value, &settings->with_transactions))
				elog(ERROR, "include_transaction takes a boolean, not \"%s\"", value);
		}
		else if (strcmp(option->defname, "output_format") != 0)
			elog(ERROR, "there is no option \"%s\"", option->defname);
		else if (value && strcmp(value, "binary") == 0)
			options->output_type = OUTPUT_PLUGIN_BINARY_OUTPUT;
	}
}

static void
write_line(LogicalDecodingContext *ctx, const char *line)
{
	OutputPluginPrepareWrite(ctx, true);
	appendStringInfoString(ctx->out, line);
	OutputPluginWrite(ctx, true);
}

static void
begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	if (((Settings *) ctx->output_plugin_private)->with_transactions)
		write_line(ctx, "BEGIN;");
}

static void
commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	if (((Settings *) ctx->output_plugin_private)->with_transactions)
		write_line(ctx, "COMMIT;");
}

static const char *
table_name(Relation table)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(table)),
									  RelationGetRelationName(table));
}

static void
put_value(StringInfo out, Oid type, Datum value, bool is_null)
{
	Oid			function;
	bool		is_varlena;
	char	   *text;

	if (is_null)
	{
		appendStringInfoString(out, "null");
		return;
	}
	getTypeOutputInfo(type, &function, &is_varlena);
	if (is_varlena)
		value = PointerGetDatum(PG_DETOAST_DATUM(value));
	text = OidOutputFunctionCall(function, value);
	switch (type)
	{
		case BOOLOID:
			appendStringInfoString(out, *text == 't' ? "true" : "false");
			return;
		case BITOID:
		case VARBITOID:
			appendStringInfo(out, "B'%s'", text);
			return;
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
			appendStringInfoString(out, text);
			return;
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			/* NaN and Infinity go as literals, like all that follows. */
			if (strpbrk(text, "NI") == NULL)
			{
				appendStringInfoString(out, text);
				return;
			}
			break;
		default:
			break;
	}
	appendStringInfoChar(out, '\'');
	for (; *text; text++)
	{
		if (*text == '\'')
			appendStringInfoChar(out, '\'');
		appendStringInfoChar(out, *text);
	}
	appendStringInfoChar(out, '\'');
}

/* `name = value` of one column; false where it has been dropped. */
static bool
put_equation(StringInfo out, Relation table, HeapTuple row, int number, const char *separator)
{
	Form_pg_attribute column = TupleDescAttr(RelationGetDescr(table), number - 1);
	bool		is_null;
	Datum		value;

	if (column->attisdropped)
		return false;
	value = heap_getattr(row, number, RelationGetDescr(table), &is_null);
	appendStringInfo(out, "%s%s = ", separator, quote_identifier(NameStr(column->attname)));
	put_value(out, column->atttypid, value, is_null);
	return true;
}

static void
put_insert(StringInfo out, Relation table, HeapTuple row)
{
	TupleDesc	columns = RelationGetDescr(table);
	StringInfoData names,
				values;

	initStringInfo(&names);
	initStringInfo(&values);
	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns, i);
		const char *separator = names.len > 0 ? ", " : "";
		bool		is_null;
		Datum		value;

		if (column->attisdropped)
			continue;
		value = heap_getattr(row, i + 1, columns, &is_null);
		appendStringInfo(&names, "%s%s", separator, quote_identifier(NameStr(column->attname)));
		appendStringInfoString(&values, separator);
		put_value(&values, column->atttypid, value, is_null);
	}
	appendStringInfo(out, "INSERT INTO %s (%s) VALUES (%s);", table_name(table), names.data,
					 values.data);
}

/* The key's columns, or those of the whole old row. */
static void
put_where(StringInfo out, Relation table, Oid key, HeapTuple row)
{
	const char *separator = " WHERE ";

	if (OidIsValid(key))
	{
		Relation	index = index_open(key, AccessShareLock);

		for (int i = 0; i < index->rd_index->indnatts; i++)
			if (put_equation(out, table, row, index->rd_index->indkey.values[i], separator))
				separator = " AND ";
		index_close(index, NoLock);
	}
	else
		for (int i = 1; i <= RelationGetDescr(table)->natts; i++)
			if (put_equation(out, table, row, i, separator))
				separator = " AND ";
	appendStringInfoChar(out, ';');
}

/* Values that were left in their TOAST are not in the new row. */
static bool
is_in_toast(Form_pg_attribute column, HeapTuple row, TupleDesc columns)
{
	bool		is_null;
	Datum		value = heap_getattr(row, column->attnum, columns, &is_null);

	return !is_null && column->attlen == -1 &&
		VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value));
}

static void
put_update(StringInfo out, Relation table, Oid key, HeapTuple old, HeapTuple new)
{
	TupleDesc	columns = RelationGetDescr(table);
	const char *separator = "";

	appendStringInfo(out, "UPDATE %s SET ", table_name(table));
	for (int i = 1; i <= columns->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns, i - 1);

		if (column->attisdropped || is_in_toast(column, new, columns))
			continue;
		if (put_equation(out, table, new, i, separator))
			separator = ", ";
	}
	put_where(out, table, key, old ? old : new);
}

static void
change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation table,
	   ReorderBufferChange *change)
{
	Settings   *settings = ctx->output_plugin_private;
	HeapTuple	old = TUPLE(change->data.tp.oldtuple);
	HeapTuple	new = TUPLE(change->data.tp.newtuple);
	MemoryContext outer = MemoryContextSwitchTo(settings->row);
	Oid			key = RelationGetReplicaIndex(table);
	bool		has_identity = OidIsValid(key) ||
		table->rd_rel->relreplident == REPLICA_IDENTITY_FULL;

	if (change->action == REORDER_BUFFER_CHANGE_INSERT || has_identity)
	{
		OutputPluginPrepareWrite(ctx, true);
		switch (change->action)
		{
			case REORDER_BUFFER_CHANGE_INSERT:
				put_insert(ctx->out, table, new);
				break;
			case REORDER_BUFFER_CHANGE_UPDATE:
				put_update(ctx->out, table, key, old, new);
				break;
			case REORDER_BUFFER_CHANGE_DELETE:
				appendStringInfo(ctx->out, "DELETE FROM %s", table_name(table));
				put_where(ctx->out, table, key, old);
				break;
			default:
				elog(ERROR, "a change of kind %d", (int) change->action);
		}
		OutputPluginWrite(ctx, true);
	}
	MemoryContextSwitchTo(outer);
	MemoryContextReset(settings->row);
}

static void
truncate_tables(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int count, Relation tables[],
				ReorderBufferChange *change)
{
	OutputPluginPrepareWrite(ctx, true);
	for (int i = 0; i < count; i++)
		appendStringInfo(ctx->out, "%s%s", i > 0 ? ", " : "TRUNCATE ", table_name(tables[i]));
	if (change->data.truncate.restart_seqs)
		appendStringInfoString(ctx->out, " RESTART IDENTITY");
	if (change->data.truncate.cascade)
		appendStringInfoString(ctx->out, " CASCADE");
	appendStringInfoChar(ctx->out, ';');
	OutputPluginWrite(ctx, true);
}

void
_PG_output_plugin_init(OutputPluginCallbacks *callbacks)
{
	callbacks->startup_cb = startup;
	callbacks->begin_cb = begin;
	callbacks->change_cb = change;
	callbacks->truncate_cb = truncate_tables;
	callbacks->commit_cb = commit;
}

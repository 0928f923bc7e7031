-- What is done after the moment in between.
SELECT lo_put(4711, 3, 'x'), lo_unlink(4712);
ALTER TABLE keyless DISABLE TRIGGER replica;
ALTER TABLE parted ENABLE TRIGGER always;
ALTER TABLE every ADD COLUMN more text DEFAULT 'm', ALTER COLUMN n TYPE float8;
UPDATE every SET more = t WHERE id < 50;
INSERT INTO every (id, more) SELECT g, 'bulk ' || g FROM generate_series(2001, 2200) g;
TRUNCATE noted;
INSERT INTO parted VALUES (1, 'c'), (2, 'd');
REFRESH MATERIALIZED VIEW summed;
CREATE MATERIALIZED VIEW later AS SELECT * FROM summed;
SELECT nextval('counter');
ALTER TABLE master RENAME TO chief;
DROP TABLE detail;
ALTER TABLE parted DETACH PARTITION parted_2;
INSERT INTO "odd ""name; \x" VALUES ('more');

-- The value in TOAST is not in the WAL again when it does not change.
CREATE TABLE counters (id int PRIMARY KEY, hits int NOT NULL, document text NOT NULL);
ALTER TABLE counters ALTER document SET STORAGE EXTERNAL;
INSERT INTO counters SELECT i, 0, repeat(md5(i::text), 250) FROM generate_series(1, 3000) i;
CREATE PROCEDURE hit(times int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. times LOOP
        UPDATE counters SET hits = hits + 1;
        COMMIT;
    END LOOP;
END $$;
-- changes
CALL hit(100);

-- Every transaction meets tables that the last one did not.
SELECT format('CREATE TABLE many_%s (id int PRIMARY KEY, a text, b int)', i)
FROM generate_series(0, 999) i
\gexec
CREATE PROCEDURE change_many(transactions int) LANGUAGE plpgsql AS $$
BEGIN
    FOR t IN 1 .. transactions LOOP
        FOR i IN 0 .. 9 LOOP
            EXECUTE format('INSERT INTO many_%s VALUES (%s, %L, %s)', (t * 10 + i) % 1000, t, 'row ' || t, i);
            EXECUTE format('UPDATE many_%s SET b = b + 1 WHERE id = %s', (t * 10 + i) % 1000, t);
        END LOOP;
        COMMIT;
    END LOOP;
END $$;
-- changes
CALL change_many(10000);

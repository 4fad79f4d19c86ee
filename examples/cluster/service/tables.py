"""The tables, and a million rows for them: enough that the one question of the service takes what real ones do."""

from khronos_fast import Database

USERS = 100
PROJECTS_OF_A_USER = 10
BOOKINGS_OF_A_PROJECT = 1_000

TABLES = (
    "CREATE TABLE project (id INTEGER PRIMARY KEY, owner INTEGER NOT NULL, name TEXT NOT NULL)",
    """
    CREATE TABLE booking (
        id INTEGER PRIMARY KEY,
        project INTEGER NOT NULL REFERENCES project,
        person INTEGER NOT NULL,
        day INTEGER NOT NULL,
        minutes INTEGER NOT NULL
    )
    """,
)
COUNT_TO = "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?)"
PROJECTS = f"{COUNT_TO} INSERT INTO project SELECT n + 1, n / ? + 1, 'Project ' || (n + 1) FROM numbers"
# As in life, what is booked on a day is booked on many projects: those of one user lie all over the table.
BOOKINGS = f"""
    {COUNT_TO}
    INSERT INTO booking
    SELECT n + 1, n * 7919 % ? + 1, abs(random()) % 50, n * 365 / ?, abs(random()) % 32 * 15 + 15 FROM numbers
"""
INDEXES = (
    "CREATE INDEX project_of_owner ON project (owner)",
    "CREATE INDEX booking_of_project ON booking (project)",
)


def prepare(database_url: str) -> bool:
    """Make and fill the tables, all or nothing, if they are not there; whether they had to be made."""
    projects = USERS * PROJECTS_OF_A_USER
    bookings = projects * BOOKINGS_OF_A_PROJECT
    with Database(database_url) as database, database.transaction():
        if database.query("SELECT name FROM sqlite_master WHERE name = 'booking'"):
            return False
        for table in TABLES:
            database.execute(table)
        database.execute(PROJECTS, (projects, PROJECTS_OF_A_USER))
        database.execute(BOOKINGS, (bookings, projects, bookings))
        for index in INDEXES:
            database.execute(index)
        return True

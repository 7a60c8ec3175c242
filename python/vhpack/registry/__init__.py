"""The registry: datums, aliases, datasets, runs and their inputs, in SQLite or PostgreSQL.

`names` and `records` say what things are called and what is known of them, and load nothing; `schema` has the tables,
`opening` finds and upgrades a database, and one module for each subject reads and changes it inside a transaction that its
caller holds. `store` keeps contents of local runs. Nothing here reads the environment, hashes a file, or touches the network.
"""

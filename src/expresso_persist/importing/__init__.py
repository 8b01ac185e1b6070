"""Taking localStorage dumps into the database: catalog, secrets, dump forms, importer."""

"""Every known way to be wrong: done to converted models (`models`), and to the rules that make them (`rules`)."""

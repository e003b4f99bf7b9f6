"""What a run leaves for people: the rejects as CSV and workbook, and a short report in Markdown.

Nothing here decides: the states and reasons come from the outcome files, everything else from the plan, the
summary and the ledger's batches, as plain dictionaries, so that a report can be written however far a run came.
"""

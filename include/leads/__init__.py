"""What a lead is, and how a night of leads is cleaned before it is loaded."""

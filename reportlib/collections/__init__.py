"""Collections: passages, queries and judgements; `reading` also runs inside an environment."""

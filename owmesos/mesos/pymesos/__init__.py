"""The second wire: the same scheduler over the pymesos library, which only this folder imports. Nothing is decided
here."""

"""What people clicked or drew, in any of the formats they have: files -> marks -> lesions."""

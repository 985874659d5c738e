"""Whether two image files show one picture: changed copies, and how alike two pictures are."""

"""What an output holds, read into tables: the room that knows records and storage, and judges nothing."""

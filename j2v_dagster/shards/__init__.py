"""The input folder: where shards lie, the partitions they make, looking for new ones."""

"""Where prediction tables live, one file a warehouse."""

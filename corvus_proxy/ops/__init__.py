"""What people run: the command line, the launcher of `corvus up`, embedded servers, the doctor."""

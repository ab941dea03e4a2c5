module tollgate.test/guest

go 1.24

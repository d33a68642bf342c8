create table tracks (
    id integer primary key,
    title text not null,
    artist text not null,
    likes bigint not null default 0
);

create table likes (
    id integer primary key,
    track bigint not null references tracks (id),
    at text not null default current_timestamp
);

insert into tracks (title, artist)
values ('So What', 'Miles Davis'), ('Blue Train', 'John Coltrane'), ('Take Five', 'Dave Brubeck');

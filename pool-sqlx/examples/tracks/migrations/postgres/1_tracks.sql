create table tracks (
    id bigint generated always as identity primary key,
    title text not null,
    artist text not null,
    likes bigint not null default 0
);

create table likes (
    id bigint generated always as identity primary key,
    track bigint not null references tracks (id),
    at timestamptz not null default now()
);

insert into tracks (title, artist)
values ('So What', 'Miles Davis'), ('Blue Train', 'John Coltrane'), ('Take Five', 'Dave Brubeck');
